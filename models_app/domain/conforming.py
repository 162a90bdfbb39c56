"""Validates a value against a subset of JSON Schema."""

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
    """Supports `type`, `properties`, `required`, `enum` and `additionalProperties: false`, which NOA's probes use."""
    if "enum" in schema and value not in schema["enum"]:
        return False
    expected = schema.get("type")
    if expected and not _is(value, expected):
        return False
    return expected != "object" or _fits_object(value, schema)


def _is(value: Any, expected: str) -> bool:
    # True is an int in Python, but not in JSON.
    return isinstance(value, _TYPES[expected]) and (expected == "boolean") == isinstance(value, bool)


def _fits_object(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if schema.get("additionalProperties") is False and not value.keys() <= properties.keys():
        return False
    return all(conforms(value[name], inner) for name, inner in properties.items() if name in value)
