"""Parser of JSON bodies, with limits that Django REST framework's parser lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from models_app.domain.errors import InvalidRequest

# Deeper than any body of this API; unlimited depth would exhaust the recursion limit.
MAX_DEPTH = 64
# How JSON writes the one character that PostgreSQL does not store.
_NUL = b"\\u0000"


class BoundedJSONParser(BaseParser):
    """Parses an object of at most 64 levels. orjson itself refuses NaN, bad UTF-8 and lone surrogates.

    Of duplicate names the last one counts, as in most parsers.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read()
        if not body.strip():
            return {}
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from error
        if not isinstance(data, dict):
            raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
        if _deeper_than(data, MAX_DEPTH):
            raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
        if _NUL in body and _holds_nul(data):
            raise InvalidRequest(
                "A text in the body contains a NUL character, which cannot be stored.",
                code="invalid_json",
            )
        return data


def json_object(request: Request) -> dict[str, Any]:
    """The body. `BoundedJSONParser` accepts objects only."""
    body = request.data
    assert isinstance(body, dict)
    return body


def _deeper_than(data: Any, limit: int) -> bool:
    level: list[Any] = [data]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _holds_nul(data: Any) -> bool:
    if isinstance(data, str):
        return "\0" in data
    if isinstance(data, dict):
        return any(_holds_nul(name) or _holds_nul(value) for name, value in data.items())
    return isinstance(data, list) and any(_holds_nul(item) for item in data)
