"""Reads server-sent events from bytes in pieces of any size, and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

# Name and data; the name is empty if a stream does not name its events.
Event = tuple[str, bytes]

# The longest valid event is a whole answer in one piece; more without an end is a fault of the server.
MAX_EVENT_BYTES = 16 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
# A comment: a client of OpenAI's dialects gets it only while nothing else is sent, since some cannot read it.
PING = b": ping\n\n"
# The start of a runner's comment with the counts of a stream.
COUNTS = b": noa "
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than the reader keeps."""


class LineEnds:
    """Converts the three line ends of the standard, \\r\\n, \\n and \\r, to \\n, and removes a byte order mark."""

    __slots__ = ("_is_first", "_mark", "_open_return")

    def __init__(self) -> None:
        self._is_first = True
        # The beginning of a mark.
        self._mark = b""
        # The last byte was \r, which can be half of a \r\n.
        self._open_return = False

    def feed(self, data: bytes) -> bytes:
        """`data` itself as a rule: most servers send neither."""
        if self._is_first:
            data = self._without_mark(data)
        if self._open_return and data:
            data = data.removeprefix(b"\n")
            self._open_return = False
        if b"\r" not in data:
            return data
        self._open_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def end(self) -> bytes:
        """What was held back as the beginning of a mark."""
        rest, self._mark = self._mark, b""
        return rest

    def _without_mark(self, data: bytes) -> bytes:
        data = self._mark + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._mark = data
            return b""
        self._mark, self._is_first = b"", False
        return data.removeprefix(_BOM)


class EventReader:
    """Turns bytes into events; comments, ids and retry times are skipped."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._line_ends = LineEnds()
        self._held = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now. Raises EventTooLong."""
        found: list[Event] = []
        data = self._line_ends.feed(data)
        if not self._held and data.endswith(b"\n\n"):
            # Whole events, as servers send them nearly always.
            for block in data.split(b"\n\n"):
                _collect(block, found)
            return found
        self._held += data
        # Blank lines between events mean nothing, and would end an event that has not begun.
        if self._held.startswith(b"\n"):
            self._held = bytearray(self._held.lstrip(b"\n"))
            self._searched = 0
        start = 0
        while (end := self._held.find(b"\n\n", max(start, self._searched))) >= 0:
            _collect(bytes(self._held[start:end]), found)
            start = self._searched = end + 2
        del self._held[:start]
        # The second half of a blank line can be in the next piece.
        self._searched = max(0, len(self._held) - 1)
        if len(self._held) > self._limit:
            raise EventTooLong
        return found

    def end(self) -> list[Event]:
        """The last event, if the server leaves out the blank line that ends it."""
        rest, self._held = bytes(self._held) + self._line_ends.end(), bytearray()
        found: list[Event] = []
        _collect(rest.rstrip(b"\n"), found)
        return found


def _collect(block: bytes, found: list[Event]) -> None:
    name, lines = "", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    # An event without data is none.
    if data := b"\n".join(lines):
        found.append((name, data))


def unnamed(value: Mapping[str, Any]) -> bytes:
    """An event as OpenAI's chat completions send it."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def named(value: Mapping[str, Any]) -> bytes:
    """An event whose name is the `type` of its value, as Anthropic's and OpenAI's Responses API send it."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
