"""The JSON schema of an exported registry. `models_app.domain.catalog.registry_file` checks it."""

from __future__ import annotations

from typing import Any

from models_app.api.serializers.entries import ENTRY_BY_KEY, LINE, ROUTE_PATTERN, SLUG_PATTERN
from models_app.domain.catalog import registry_file
from models_app.domain.catalog.providers import TIMEOUT_LIMITS
from models_app.domain.keys import MAX_KEY_LENGTH
from models_app.domain.provider_kinds import ProviderKind

_KEY: dict[str, Any] = ENTRY_BY_KEY["properties"]["key"]


def _line(limit: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": limit, "pattern": LINE}


_PROVIDER: dict[str, Any] = {
    "type": "object",
    "title": "ExportedProvider",
    "required": ["slug", "kind"],
    "additionalProperties": False,
    "properties": {
        "slug": {"type": "string", "pattern": SLUG_PATTERN},
        "kind": {"type": "string", "enum": list(ProviderKind)},
        "name": _line(100),
        "base_url": {"type": "string", "maxLength": 500},
        "enabled": {"type": "boolean"},
        "secret_env": {
            "type": "string",
            "pattern": "^([A-Z][A-Z0-9_]{1,99})?$",
            "description": "The environment variable that holds its secret.",
        },
        "allow_private_addresses": {"type": "boolean"},
        "timeouts": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "number", "minimum": low, "maximum": high}
                for name, (low, high) in TIMEOUT_LIMITS.items()
            },
        },
    },
}

_FILE: dict[str, Any] = {
    "type": "object",
    "nullable": True,
    "required": ["path", "sha256", "size_bytes"],
    "additionalProperties": False,
    "properties": {
        "path": _line(4096),
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "size_bytes": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "quantization": _line(32),
        "architecture": _line(64),
        "template_digest": _line(64),
    },
    "description": "Properties of a local model's file, which is read again before the model is loaded.",
}

_MODEL: dict[str, Any] = {
    **ENTRY_BY_KEY,
    "title": "ExportedModel",
    "properties": {
        **{name: value for name, value in ENTRY_BY_KEY["properties"].items() if name != "path"},
        "file": _FILE,
    },
}

_ROUTE: dict[str, Any] = {
    "type": "object",
    "title": "ExportedRoute",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": ROUTE_PATTERN},
        "target": {**_KEY, "nullable": True, "maxLength": MAX_KEY_LENGTH},
        "fallbacks": {
            "type": "array",
            "maxItems": registry_file.MAX_FALLBACKS,
            "items": _KEY,
        },
        "description": _line(255),
    },
}


def _list_of(schema: dict[str, Any], limit: int) -> dict[str, Any]:
    return {"type": "array", "maxItems": limit, "items": schema}


DOCUMENT: dict[str, Any] = {
    "type": "object",
    "title": "ExportedRegistry",
    "required": ["format", "version"],
    "additionalProperties": False,
    "properties": {
        "format": {"type": "string", "enum": [registry_file.FORMAT]},
        "version": {"type": "integer", "enum": [registry_file.VERSION]},
        "exported_at": {"type": "string", "format": "date-time"},
        "providers": _list_of(_PROVIDER, registry_file.MAX_PROVIDERS),
        "models": _list_of(_MODEL, registry_file.MAX_MODELS),
        "routes": _list_of(_ROUTE, registry_file.MAX_ROUTES),
    },
}
