"""Feeds streams to translations in pieces, and reads their output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from models_app.providers.wire.translation import StreamTranslation


def through(stream: StreamTranslation, *pieces: bytes) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.end()


def every_split(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The data in two pieces, cut at each place."""
    return ((data[:at], data[at:]) for at in range(len(data) + 1))


def is_the_same_however_it_is_cut(make: Callable[[], StreamTranslation], data: bytes) -> bytes:
    """The output for the whole data; fails unless single bytes, and two pieces cut anywhere, give the same."""
    whole = through(make(), data)
    for pieces in every_split(data):
        assert through(make(), *pieces) == whole, f"cut after {len(pieces[0])} bytes"
    assert through(make(), *(bytes([byte]) for byte in data)) == whole
    return whole


def events(data: bytes) -> list[Any]:
    """The JSON of each event; `[DONE]` as that text."""
    found = []
    for block in data.split(b"\n\n"):
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                text = line[6:]
                found.append("[DONE]" if text == b"[DONE]" else json.loads(text))
    return found


def event(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()
