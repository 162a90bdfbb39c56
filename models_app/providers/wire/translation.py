"""The contract of a translation between OpenAI's chat completions and another dialect.

A request of a client with another dialect is translated to OpenAI's (inbound), and a request to a provider with another
dialect from OpenAI's (outbound); both have this contract. Translations are pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError


class StreamTranslation(Protocol):
    """One stream of server-sent events: takes pieces of any size, and returns whole events."""

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
    """`model` is the name in the client's request; `model_id` the name at the server."""

    def request(self, body: Mapping[str, Any], *, model_id: str) -> dict[str, Any]:
        """The body to send on. Raises InvalidRequest or UnsupportedParameter that names the field."""

    def answer(self, body: Mapping[str, Any], *, model: str) -> tuple[dict[str, Any], Usage]:
        """A whole answer, translated back, and its usage."""

    def stream(self, *, model: str) -> StreamTranslation: ...
