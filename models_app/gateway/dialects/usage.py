"""Token counts, read from an answer while it is forwarded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.providers.wire.chat_answers import counted

_MARK = b'"usage"'
# One object, with objects of one more level in it (`prompt_tokens_details`). Quotes inside of JSON strings are
# escaped, so this never matches text of a model.
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')
# Usage is in the last event or at the end of the object: of a long answer, this much of its end is searched.
_KEPT = 8 * 1024
# The kept part is cut down to the end only beyond this size.
_MAX_KEPT = 32 * 1024


def of_whole(answer: bytes) -> Mapping[str, Any]:
    """The last usage object of a JSON answer or of a stream; empty when it has none.

    OpenAI's streams carry `"usage": null` in other events, so earlier marks are tried until one has an object.
    """
    start = answer.rfind(_MARK)
    while start >= 0:
        match = _USAGE.match(answer, start)
        if match:
            return _parsed(match[1])
        start = answer.rfind(_MARK, 0, start)
    return {}


class UsageTail:
    """Keeps the end of an answer that arrives in pieces of any size, and finds the usage object in it.

    Works for a runner's SSE comment, for OpenAI's last chunk and for a long JSON answer alike.
    """

    __slots__ = ("_parts", "_size", "events")

    def __init__(self) -> None:
        # The only count of a stream that is cut: a runner sends one event for each token.
        self.events = 0
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        self.events += data.count(b"\n\n")
        if self._size > _MAX_KEPT:
            self._parts = [b"".join(self._parts)[-_KEPT:]]
            self._size = _KEPT

    def counts(self) -> Usage:
        """As `counts_in`, of everything so far."""
        return counts_in(b"".join(self._parts))


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def counts_in(answer: bytes) -> Usage:
    """The last usage object of an answer or of a stream. Counts that it lacks, or that make no sense, are None."""
    return counted(of_whole(answer))
