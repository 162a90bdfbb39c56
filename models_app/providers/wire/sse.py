"""Reads server-sent events from bytes in pieces of any size, and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

# Name and data; the name is empty if a stream does not name its events.
Event = tuple[str, bytes]

# The longest valid event is a whole answer in one piece; more without an end is a fault of the server.
MAX_EVENT_BYTES = 8 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
# The start of a runner's comment with the counts of a stream.
COUNTS = b": noa "
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than the reader keeps."""


class EventReader:
    """Turns bytes into events; comments, ids and retry times are skipped."""

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        # With every line ending converted to \n.
        self._held = bytearray()
        self._searched = 0
        self._is_first = True
        # The last byte was \r, which can be half of a \r\n.
        self._open_return = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now. Raises EventTooLong."""
        found: list[Event] = []
        if self._is_plain(data):
            for block in data.split(b"\n\n"):
                _collect(block, found)
            return found
        self._take(data)
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
        rest, self._held = bytes(self._held), bytearray()
        found: list[Event] = []
        _collect(rest.rstrip(b"\n"), found)
        return found

    def _is_plain(self, data: bytes) -> bool:
        """Whether `data` is whole events, as servers send it nearly always."""
        waits = self._held or self._is_first or self._open_return
        return not waits and data.endswith(b"\n\n") and b"\r" not in data

    def _take(self, data: bytes) -> None:
        if self._open_return and data.startswith(b"\n"):
            data = data[1:]
        if data:
            self._open_return = data.endswith(b"\r")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._held += data
        if self._is_first and len(self._held) >= len(_BOM):
            self._is_first = False
            if self._held.startswith(_BOM):
                del self._held[: len(_BOM)]
        # Blank lines between events mean nothing, and would end an event that has not begun.
        if self._held.startswith(b"\n"):
            self._held = bytearray(self._held.lstrip(b"\n"))
            self._searched = 0


def _collect(block: bytes, found: list[Event]) -> None:
    name, lines = "", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    if lines:
        found.append((name, b"\n".join(lines)))


def unnamed(value: Mapping[str, Any]) -> bytes:
    """An event as OpenAI's chat completions send it."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def named(value: Mapping[str, Any]) -> bytes:
    """An event whose name is the `type` of its value, as Anthropic's and OpenAI's Responses API send it."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
