"""The shape of a translation between OpenAI's chat completions and another dialect.

A request of a client who speaks another dialect is translated to OpenAI's (`inbound`), and a request to a provider who
speaks another one from OpenAI's (`outbound`); both have this shape. Translations are pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError


class StreamTranslation(Protocol):
    """One stream of server-sent events, in pieces of any size; what comes out are whole events."""

    # What the stream has told of usage so far.
    usage: Usage | None
    # Whether the last event of the answer, good or bad, has been given out.
    done: bool

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes:
        """What is still owed after the last byte."""

    def error(self, error: NoaError) -> bytes:
        """The event that ends a stream that was cut, in the dialect of whoever reads it."""


class Translation(Protocol):
    """`model` is the name that the client asked for; `model_id` the one that the asked server knows."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        """The body to send on. Raises InvalidRequest or UnsupportedParameter that names the field."""

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        """A whole answer, translated back, and its usage."""

    def stream(self, *, model: str) -> StreamTranslation: ...
