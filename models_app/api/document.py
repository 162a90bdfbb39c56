"""Hooks that complete the OpenAPI document: gateway operations, examples, patterns of names, common errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import yaml

from models_app.domain import keys
from models_app.services.desired_state import saved_states

EXAMPLES = Path(__file__).parent / "examples"
_GATEWAY = Path(__file__).parent / "gateway.yaml"
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorOutput"}}}


def add_examples(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Adds `request` and `response` of `examples/<operation id>.json` to each operation that has such a file."""
    for methods in result["paths"].values():
        for operation in methods.values():
            path = EXAMPLES / f"{operation['operationId']}.json"
            if path.exists():
                _add_example(operation, orjson.loads(path.read_bytes()))
    return result


def _add_example(operation: dict[str, Any], example: dict[str, Any]) -> None:
    if "request" in example:
        for content in operation["requestBody"]["content"].values():
            content["example"] = example["request"]
    for status, response in operation["responses"].items():
        if status.startswith("2") and "response" in example:
            for media_type, content in response.get("content", {}).items():
                if media_type == "application/json":
                    content["example"] = example["response"]


def add_gateway(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Adds the operations under `/v1`, from `gateway.yaml`."""
    document = yaml.safe_load(_GATEWAY.read_text())
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["security"] = [{"apiKey": []}]
            for status, text in document["errors"][method].items():
                operation["responses"][status] = {"description": text, "content": _ERROR}
        result["paths"][path] = methods
    result["components"]["schemas"] |= document["schemas"]
    return result


# The pattern of a name in a path, by the path up to it; the first match applies.
_NAMES = (
    (r"/models/\{key\}", keys.KEY_PATTERN),
    (r"/(models|providers)/\{(provider|slug)\}", keys.SLUG_PATTERN),
    (r"/routes/\{name\}", keys.ROUTE_PATTERN),
    (r"/snapshots/\{name\}", saved_states.NAME_PATTERN),
)
_ALWAYS = {"406": "Responses are JSON only."}
_WITH_NAME = {"405": "The name matches another address, which does not support this method."}
_WITH_BODY = {
    "413": "The body is too large.",
    "415": "The body must be JSON.",
}
_POST = {"422": "The `Idempotency-Key` was used for another request, or a file cannot be used."}

_IDEMPOTENCY = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "The same request with the same key runs once; `Idempotent-Replayed` marks a repeated answer.",
    "schema": {
        "type": "string",
        "maxLength": 255,
        "pattern": r"^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$",
    },
}


def tighten(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Adds the patterns of names in paths, `Idempotency-Key`, and the errors that all operations have in common."""
    for path, method, operation in _own_operations(result):
        if method == "post":
            operation.setdefault("parameters", []).append(_IDEMPOTENCY)
        _require_choice(operation, result["components"]["schemas"])
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and "format" not in parameter["schema"]:
                parameter["schema"] |= _pattern_of(path)
        for status, text in _common_errors(path, method, operation).items():
            operation["responses"].setdefault(status, {"description": text, "content": _ERROR})
    return result


def _require_choice(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Marks the body as required when it has required fields, or alternatives that have some."""
    body = operation.get("requestBody", {"content": {}})
    for content in body["content"].values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        schema = schemas.get(name, content["schema"])
        if "oneOf" in schema or "required" in schema:
            body["required"] = True


def _own_operations(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in result["paths"].items():
        if path.startswith("/api/"):
            for method, operation in methods.items():
                yield path, method, operation


def _pattern_of(path: str) -> dict[str, Any]:
    for place, pattern in _NAMES:
        if re.search(place, path):
            return {"pattern": f"^(?:{pattern})$"}
    return {}


def _common_errors(path: str, method: str, operation: dict[str, Any]) -> dict[str, str]:
    found = dict(_ALWAYS)
    if "{" in path:
        found |= _WITH_NAME
    if "requestBody" in operation:
        found |= _WITH_BODY
    if method == "post":
        found |= _POST
    return found
