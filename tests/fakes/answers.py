"""Deterministic answers of the fake providers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_WORD = re.compile(r"\s*\S+")
# Deep enough for any schema of a test; a schema can refer to itself.
_MAX_DEPTH = 8


def words(text: str) -> list[str]:
    """The pieces in which the text is streamed: each word with the space before it."""
    return _WORD.findall(text)


def count_tokens(*texts: str) -> int:
    """The number of tokens of all texts: a token is a word."""
    return sum(len(words(text)) for text in texts)


def echo(text: str, images: Iterable[str] = ()) -> str:
    """The answer to a message with `text` and `images`, each of which is a description."""
    return f"You said: {text}" + "".join(f" I see {image}." for image in images)


def about_result(text: str) -> str:
    """The answer to the result of a tool."""
    return f"The tool said: {text}"


THOUGHT = "The user wants an answer, so I give one."


def conforming(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that a simple JSON schema allows: objects with all their properties, the first of an enum, and so on."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return conforming(schema[choice][0], depth)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object" or "properties" in schema:
        if depth >= _MAX_DEPTH:
            return {}
        properties = schema.get("properties") or {}
        return {name: conforming(inner, depth + 1) for name, inner in properties.items()}
    if kind == "array":
        count = schema.get("minItems", 1) if depth < _MAX_DEPTH else 0
        return [conforming(schema.get("items") or {}, depth + 1) for _ in range(count)]
    plain = {"integer": schema.get("minimum", 7), "number": 1.5, "boolean": True, "null": None}
    return plain.get(str(kind), "text")


def called_by_name(names: Iterable[str], text: str) -> str | None:
    """The first tool whose name is in the text."""
    return next((name for name in names if name in text), None)
