"""The base of the translations of streams: parses and checks events that hold JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError, ProviderError
from models_app.providers.wire import sse


class JsonEvents:
    """Base class of a StreamTranslation. A subclass implements `take`, `end` and `error_event`.

    Unreadable input ends the stream with an error; after the last event, good or bad, everything is dropped.
    """

    # Named in the error as the sender of a malformed answer.
    sender: ClassVar[str] = "The provider"

    def __init__(self) -> None:
        self.usage: Usage | None = None
        # Whether the last event of the answer, good or bad, has been sent.
        self.done = False
        self._reader = sse.EventReader()

    def take(self, value: Mapping[str, Any]) -> bytes:
        """The translation of one event."""
        raise NotImplementedError

    def error_event(self, error: NoaError) -> bytes:
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._reader.feed(data)
        except sse.EventTooLong:
            return self._broken("an event of its stream is too long")
        return b"".join(self._translated(data) for _, data in events)

    def error(self, error: NoaError) -> bytes:
        self.done = True
        return self.error_event(error)

    def _translated(self, data: bytes) -> bytes:
        if self.done:
            return b""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._broken("an event of its stream is not valid JSON")
        if not isinstance(value, dict):
            return self._broken("an event of its stream is not a JSON object")
        return self.take(value)

    def _broken(self, what: str) -> bytes:
        if self.done:
            return b""
        message = f"{self.sender} gave an answer that cannot be forwarded: {what}."
        return self.error(ProviderError(message, code="malformed_answer"))


def is_object(data: bytes) -> bool:
    """Whether `data` is a whole JSON object, not the beginning of one that was cut."""
    try:
        return isinstance(orjson.loads(data), dict)
    except orjson.JSONDecodeError:
        return False
