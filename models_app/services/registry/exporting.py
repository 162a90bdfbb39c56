"""The whole registry as one document: see `models_app.domain.catalog.registry_file`."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from models_app.domain.catalog import registry_file
from models_app.models import Provider, RegisteredModel, Route
from models_app.models.registry import words_of

PROVIDER_COLUMNS = (
    "slug",
    "kind",
    "name",
    "base_url",
    "enabled",
    "secret_env",
    "allow_private_addresses",
    "timeouts",
)
_MODEL_COLUMNS = (
    "key",
    "name",
    "description",
    "capability_index",
    "context_window",
    "max_output_tokens",
    "tags",
    "metadata",
    "price",
    "load_options",
    "deprecated",
    "deprecation_note",
    "pinned",
    "priority",
    "idle_ttl_seconds",
    "min_residency_seconds",
    "on_demand",
)
_FILE_COLUMNS = (
    "path",
    "sha256",
    "size_bytes",
    "quantization",
    "architecture",
    "template_digest",
)


def export() -> dict[str, Any]:
    """All entries of the registry, without secrets, history or state (three queries)."""
    columns = (*_MODEL_COLUMNS, "version_id", *(f"version__{name}" for name in _FILE_COLUMNS))
    return {
        "format": registry_file.FORMAT,
        "version": registry_file.VERSION,
        "exported_at": timezone.now(),
        "providers": list(Provider.objects.order_by("slug").values(*PROVIDER_COLUMNS)),
        "models": [_model(row) for row in RegisteredModel.objects.order_by("key").values(*columns)],
        "routes": [
            {"name": name, "target": target, "fallbacks": fallbacks, "description": description}
            for name, target, fallbacks, description in Route.objects.order_by("name").values_list(
                "name", "target__key", "fallbacks", "description"
            )
        ],
    }


def _model(row: dict[str, Any]) -> dict[str, Any]:
    known = {name: row[name] for name in _MODEL_COLUMNS if name != "capability_index"}
    file = None
    if row["version_id"] is not None:
        file = {name: row[f"version__{name}"] for name in _FILE_COLUMNS}
    return known | {"capabilities": words_of(row["capability_index"]), "file": file}
