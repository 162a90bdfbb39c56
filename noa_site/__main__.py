"""Django's command line with NOA's settings: `python -m noa_site`, and `noa-server` of an installed package."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

from noa_site import streams


def main() -> None:
    streams.open_missing()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "noa_site.settings")
    execute_from_command_line(["noa-server", *sys.argv[1:]])


if __name__ == "__main__":
    main()
