"""Reads untrusted JSON: bounded decoding, and typed look-ups whose errors name the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest

# Deeper than any legitimate request; Python's own recursion limit is about 1,000.
MAX_DEPTH = 64
# How many characters of a client's value an error message repeats.
_ECHO = 80


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises InvalidRequest (`invalid_json`) for anything else.

    NaN, infinities, lone surrogates, other encodings than UTF-8 and nesting deeper than `MAX_DEPTH` are refused.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    if depth_exceeds(data, MAX_DEPTH):
        raise InvalidRequest(f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
    return data


def depth_exceeds(data: Any, limit: int) -> bool:
    """Whether objects and arrays are nested more than `limit` levels; breadth first, so that it cannot overflow."""
    level = [data]
    for _ in range(limit):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def shown(value: object) -> str:
    """A client's value for an error message: short and printable."""
    text = value if isinstance(value, str) else repr(value)
    cut = text[:_ECHO] + ("…" if len(text) > _ECHO else "")
    return "".join(character if character.isprintable() else "?" for character in cut)


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed look-ups in a JSON object. A missing field and null are the same: None, or the default.

    Every method raises InvalidRequest whose `param` is the path of the field, `prefix` included.
    """

    data: Mapping[str, Any]
    prefix: str = ""

    def path(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def refusal(self, name: str, expected: str) -> InvalidRequest:
        path = self.path(name)
        return InvalidRequest(f"'{path}' must be {expected}.", param=path)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.data.get(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self.refusal(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self.data.get(name)
        if value is None:
            return default
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise self.refusal(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def boolean(self, name: str, default: bool = False) -> bool:
        value = self.data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refusal(name, "true or false")
        return value

    def text(self, name: str, max_length: int) -> str | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > max_length:
            raise self.refusal(name, f"a string of at most {max_length:,} characters")
        return value

    def choice(self, name: str, options: tuple[str, ...]) -> str | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or value not in options:
            raise self.refusal(name, "one of " + ", ".join(options))
        return value

    def object(self, name: str) -> Mapping[str, Any] | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refusal(name, "an object")
        return value

    def items(self, name: str, low: int, high: int) -> list[Any] | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise self.refusal(name, f"a list of {low} to {high:,} items")
        return value

    def inner(self, name: str) -> Fields:
        """The fields of the required object `name`."""
        value = self.object(name)
        if value is None:
            raise self.refusal(name, "an object")
        return Fields(value, f"{self.path(name)}.")

    def each(self, name: str, low: int, high: int) -> list[Fields]:
        """The fields of every object in the required list `name`."""
        values = self.items(name, low, high)
        if values is None:
            raise self.refusal(name, f"a list of {low} to {high:,} objects")
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.refusal(f"{name}[{index}]", "an object")
        return [Fields(value, f"{self.path(name)}[{index}].") for index, value in enumerate(values)]
