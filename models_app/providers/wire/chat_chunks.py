"""Parses a stream of OpenAI's chat completions, for the translations to other dialects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import EngineError
from models_app.providers.wire import chat_answers
from models_app.providers.wire.json_events import JsonEvents, is_object

# More calls than a request can have tools.
_MAX_CALLS = 1024
_DONE = b"[DONE]"


@dataclass(slots=True)
class CallPart:
    """A piece of one call. `place` counts the calls of an answer; id and name are in its first piece."""

    place: int
    id: str
    name: str
    arguments: str


class ChunkReader(JsonEvents):
    """Base class of the translations of streams: reads events, and calls the subclass's methods in this order.

    `begin` once; then `reasoning`, `text`, `refusal` and `call` as they arrive; `finish` once, after the usage if there
    is any; or `error` in its place, when the stream has an error event or cannot be parsed. A stream that is cut before
    the model has finished ends without either.
    """

    sender = "The model's server"

    def __init__(self) -> None:
        super().__init__()
        self._has_begun = False
        # The choice with the `finish_reason`.
        self._finished: Mapping[str, Any] | None = None
        self._last_place = -1
        self._last_id = ""

    # Implemented by each dialect

    def begin(self, chunk: Mapping[str, Any]) -> bytes:
        raise NotImplementedError

    def reasoning(self, text: str) -> bytes:
        raise NotImplementedError

    def text(self, text: str) -> bytes:
        raise NotImplementedError

    def refusal(self, text: str) -> bytes:
        raise NotImplementedError

    def call(self, part: CallPart) -> bytes:
        raise NotImplementedError

    def finish(self, choice: Mapping[str, Any]) -> bytes:
        raise NotImplementedError

    # StreamTranslation

    def end(self) -> bytes:
        """Without `[DONE]`, which some servers do not send, the stream is complete when the model has finished."""
        events = [data for _, data in self._reader.end() if data.strip() == _DONE or is_object(data)]
        rest = b"".join(self._translated(data) for data in events)
        return rest + self._finish_once()

    def _translated(self, data: bytes) -> bytes:
        return self._finish_once() if data.strip() == _DONE else super()._translated(data)

    def take(self, value: Mapping[str, Any]) -> bytes:
        return self._failed(value["error"]) if value.get("error") else self._chunk(value)

    def _chunk(self, chunk: Mapping[str, Any]) -> bytes:
        found = b""
        if not self._has_begun:
            self._has_begun = True
            found = self.begin(chunk)
        if (counts := chat_answers.usage_of(chunk)) is not None:
            self.usage = (self.usage or Usage()).updated(counts)
        choice, delta = chat_answers.delta_of(chunk)
        if reasoning := chat_answers.reasoning_of(delta):
            found += self.reasoning(reasoning)
        if text := chat_answers.text_of(delta, "content"):
            found += self.text(text)
        if refusal := chat_answers.text_of(delta, "refusal"):
            found += self.refusal(refusal)
        for call in chat_answers.calls_of(delta):
            found += self.call(self._part(call))
        if choice.get("finish_reason"):
            self._finished = choice
        return found

    def _part(self, call: Mapping[str, Any]) -> CallPart:
        """The piece of `call`. Some servers send whole calls without an index: a new id starts a new call."""
        call_id = chat_answers.text_of(call, "id")
        place = call.get("index")
        if type(place) is not int or not 0 <= place < _MAX_CALLS:
            is_new = self._last_place < 0 or (call_id and call_id != self._last_id)
            place = min(self._last_place + 1, _MAX_CALLS) if is_new else self._last_place
        self._last_place, self._last_id = place, call_id or self._last_id
        return CallPart(place, call_id, *chat_answers.function_of(call))

    def _finish_once(self) -> bytes:
        if self.done or self._finished is None:
            return b""
        self.done = True
        return self.finish(self._finished)

    def _failed(self, error: object) -> bytes:
        message = chat_answers.text_of(error if isinstance(error, dict) else {"message": error}, "message")
        return self.error(EngineError(message or "The model could not continue."))
