"""Whether a value is what a small JSON schema asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def conforms(value: Any, schema: Mapping[str, Any]) -> bool:
    """Knows `type`, `properties`, `required`, `enum` and `additionalProperties: false`: what NOA's own probes ask for."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        return False
    return wanted != "object" or _fits_object(value, schema)


def _is(value: Any, wanted: str) -> bool:
    # True is an int for Python and none for JSON.
    return isinstance(value, _TYPES[wanted]) and (wanted == "boolean") == isinstance(value, bool)


def _fits_object(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if schema.get("additionalProperties") is False and not value.keys() <= properties.keys():
        return False
    return all(conforms(value[name], inner) for name, inner in properties.items() if name in value)
