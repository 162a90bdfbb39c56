"""Token counts, read from an answer while it passes by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

_MARK = b'"usage"'
# One object, with objects of one more level in it (`prompt_tokens_details`). Quotes inside of JSON strings are
# escaped, so this never matches text that a model wrote.
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
# The end of a read where a usage object has begun and may go on in the next one.
_BEGUN = re.compile(rb'"usage"\s*(?::\s*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*(?:\{[^{}]*)?)?)?\Z')

# A usage object has some 200 bytes; one that goes on beyond this is not one.
_MAX_OBJECT = 4096
# No model reads or writes this many tokens: such a count is a lie and is not stored.
_MAX_TOKENS = 1_000_000_000


class UsageScan:
    """Finds the last `"usage": {…}` of an answer that comes in any pieces.

    Works for a runner's SSE comment, for OpenAI's last chunk and for a whole JSON answer alike.
    """

    __slots__ = ("_found", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._found: bytes | None = None

    def feed(self, data: bytes) -> None:
        window = self._tail + data
        if _MARK in window:
            self._look(window)
        else:
            self._tail = window[1 - len(_MARK) :]

    def counts(self) -> Mapping[str, Any]:
        """The usage object; empty when there was none."""
        try:
            value = orjson.loads(self._found or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}

    def _look(self, window: bytes) -> None:
        for match in _USAGE.finditer(window):
            self._found = match[1]
        begun = _BEGUN.search(window, max(0, len(window) - _MAX_OBJECT))
        self._tail = begun[0] if begun else window[1 - len(_MARK) :]


def tokens(counts: Mapping[str, Any], name: str) -> int | None:
    """One count, or None when it is absent or no sensible number."""
    value = counts.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None


def cached_tokens(counts: Mapping[str, Any]) -> int | None:
    details = counts.get("prompt_tokens_details")
    return tokens(details, "cached_tokens") if isinstance(details, dict) else None
