"""Writes docs/openapi.yaml, or with `--check` says whether it is what the code would write."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import django
from drf_spectacular.renderers import OpenApiYamlRenderer

SNAPSHOT = Path(__file__).resolve().parent.parent / "docs" / "openapi.yaml"


def render() -> bytes:
    """The schema of the running code; raises SystemExit when drf-spectacular warns."""
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator
    from drf_spectacular.validation import validate_schema

    schema = SchemaGenerator().get_schema(request=None, public=True)
    GENERATOR_STATS.emit_summary()
    if GENERATOR_STATS:
        sys.exit("The schema has warnings; see above.")
    validate_schema(schema)
    return bytes(OpenApiYamlRenderer().render(schema, renderer_context={}))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("NOA_DATA_DIR", folder)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")
        django.setup()
        rendered = render()
    if "--check" not in sys.argv:
        SNAPSHOT.write_bytes(rendered)
    elif SNAPSHOT.read_bytes() != rendered:
        sys.exit("docs/openapi.yaml is not what the code says. Run `make openapi` and commit it.")


if __name__ == "__main__":
    main()
