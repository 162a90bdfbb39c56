"""Strict parsers of query parameters: a mistyped filter is refused, not ignored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from models_app.domain.errors import InvalidRequest

LONGEST_TEXT = 255


def text_schema(longest: int = LONGEST_TEXT) -> dict[str, Any]:
    """The OpenAPI schema of a parameter that `text` reads."""
    return {"type": "string", "maxLength": longest, "pattern": r"^[^\x00]*$"}


def refuse_unknown(request: Request, known: Iterable[str]) -> None:
    """Raises InvalidRequest for a parameter that the operation does not have."""
    names = sorted(known)
    for name in request.query_params:
        if name not in names:
            raise InvalidRequest(
                f"Unknown parameter '{name[:80]}'. Known: {', '.join(names) or 'none'}.",
                code="unknown_parameter",
                param=name[:80],
            )


def integer(request: Request, name: str, *, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    # int() accepts spaces, underscores and other scripts' digits, and is slow for very long numbers.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
        raise InvalidRequest(f"'{name}' must be a whole number from {low} to {high}.", param=name)
    return int(text)


def given_integer(request: Request, name: str, *, low: int, high: int) -> int | None:
    """As `integer`; None when the parameter is absent."""
    if name not in request.query_params:
        return None
    return integer(request, name, default=low, low=low, high=high)


def flag(request: Request, name: str) -> bool | None:
    """`true` or `false`; None when the parameter is absent."""
    word = choice(request, name, ("true", "false"))
    return None if word is None else word == "true"


def moment(request: Request, name: str) -> datetime | None:
    """A time with its zone, as `2026-11-24T10:00:00Z`; None when the parameter is absent."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        # A '+' that was not encoded arrives as a space.
        found = parse_datetime(text.replace(" ", "+"))
        if found is not None and found.tzinfo is not None:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError):  # at the ends of the calendar another zone has no time
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidRequest(f"'{name}' must be a time with its zone, like 2026-11-24T10:00:00Z.", param=name)
    return found


def choice(request: Request, name: str, values: Iterable[str]) -> str | None:
    text = request.query_params.get(name)
    known = list(values)
    if text is not None and text not in known:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(known)}, not '{text[:80]}'.", param=name)
    return text


def text(request: Request, name: str, *, longest: int = LONGEST_TEXT) -> str | None:
    """A text to compare with; None when the parameter is absent. PostgreSQL does not accept NUL."""
    found = request.query_params.get(name)
    if found is not None and ("\0" in found or len(found) > longest):
        raise InvalidRequest(f"'{name}' must be a text of at most {longest} characters without NUL.", param=name)
    return found


def choices(request: Request, name: str, values: Iterable[str]) -> list[str]:
    """The values of a repeatable parameter, each once; empty when it is absent."""
    known = list(values)
    found = request.query_params.getlist(name)
    for text in found:
        if text not in known:
            raise InvalidRequest(f"'{name}' must be one of {', '.join(known)}, not '{text[:80]}'.", param=name)
    return list(dict.fromkeys(found))
