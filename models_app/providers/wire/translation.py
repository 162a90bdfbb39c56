"""The shape of a translation between OpenAI's chat completions and another dialect.

A request of a client that speaks another dialect is translated to OpenAI's (inbound), and a request to a provider that
speaks another one from OpenAI's (outbound); both have this shape. Translations are pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError


class StreamTranslation(Protocol):
    """One stream of server-sent events, in pieces of any size; what comes out are whole events."""

    # The usage that the stream has reported so far.
    usage: Usage | None
    # Whether the last event of the answer, good or bad, has been returned.
    done: bool

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes:
        """The rest of the output, after the last byte of the input."""

    def error(self, error: NoaError) -> bytes:
        """The event that ends a stream that was cut, in the dialect of the reader."""


class Translation(Protocol):
    """`model` is the name that the client asked for; `model_id` its name at the server."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        """The body to send on. Raises InvalidRequest or UnsupportedParameter that names the field."""

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        """A whole answer, translated back, and its usage."""

    def stream(self, *, model: str) -> StreamTranslation: ...
