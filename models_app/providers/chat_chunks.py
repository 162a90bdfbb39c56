"""A stream of OpenAI's chat completions, taken apart for those who tell it on in another dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models_app.domain.errors import EngineError, NoaError, ProviderError
from models_app.domain.pricing import Usage
from models_app.providers import chat_answers, sse

# More calls than any request may have tools.
_MAX_CALLS = 1024


@dataclass(slots=True)
class CallPart:
    """A piece of one call. `place` counts the calls of an answer; id and name come with its first piece."""

    place: int
    id: str
    name: str
    arguments: str


class ChunkReader:
    """Base of the translations of streams: reads events, and calls what a subclass overrides, in this order.

    `begin` once; then `reasoning`, `text`, `refusal` and `call` as they come; `finish` once, after the usage if there
    is any; or `error` in its place, when the stream says that it cannot go on or cannot be read. A stream that is cut
    before the model had finished ends without either.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        # Whether the last event of the answer, good or bad, has been sent.
        self.done = False
        self._reader = sse.EventReader()
        self._has_begun = False
        # The choice that told why the model stopped.
        self._finished: Mapping[str, Any] | None = None
        self._last_place = -1
        self._last_id = ""

    # What a dialect gives

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

    def error_event(self, error: NoaError) -> bytes:
        raise NotImplementedError

    # StreamTranslation

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._reader.feed(data)
        except sse.EventTooLong:
            return self._broken("an event of its stream is too long")
        return b"".join(self._translated(data) for _, data in events)

    def end(self) -> bytes:
        """Servers that never say `[DONE]` have finished when the model has."""
        rest = b"".join(self._translated(data) for _, data in self._reader.end() if _is_whole(data))
        return rest + self._finish_once()

    def error(self, error: NoaError) -> bytes:
        self.done = True
        return self.error_event(error)

    def _translated(self, data: bytes) -> bytes:
        if self.done:
            return b""
        if data == b"[DONE]":
            return self._finish_once()
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._broken("an event of its stream is not valid JSON")
        if not isinstance(chunk, dict):
            return self._broken("an event of its stream is not a JSON object")
        if chunk.get("error"):
            return self._failed(chunk["error"])
        return self._chunk(chunk)

    def _chunk(self, chunk: Mapping[str, Any]) -> bytes:
        found = b""
        if not self._has_begun:
            self._has_begun = True
            found = self.begin(chunk)
        self.usage = chat_answers.usage_of(chunk) or self.usage
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
        """Some servers send whole calls without an index: a new id is a new call."""
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

    def _broken(self, what: str) -> bytes:
        if self.done:
            return b""
        told = f"The model's server gave an answer that cannot be passed on: {what}."
        return self.error(ProviderError(told, code="malformed_answer"))

    def _failed(self, said: object) -> bytes:
        message = chat_answers.text_of(
            said if isinstance(said, dict) else {"message": said}, "message"
        )
        return self.error(EngineError(message or "The model could not go on."))


def _is_whole(data: bytes) -> bool:
    """Whether this is an event, not the beginning of one that was cut."""
    try:
        return data == b"[DONE]" or isinstance(orjson.loads(data), dict)
    except orjson.JSONDecodeError:
        return False
