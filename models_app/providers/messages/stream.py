"""Translates a stream of OpenAI's chat completions to events of Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError
from models_app.providers.messages import answer as messages_answer
from models_app.providers.messages.errors import anthropic_error
from models_app.providers.wire import chat_answers, sse
from models_app.providers.wire.chat_chunks import CallPart, ChunkReader


class MessagesStream(ChunkReader):
    """A content block opens with its first piece. A text block ends when another begins; calls end together, since
    OpenAI's pieces of several calls can be interleaved. Usage is in `message_delta`; that of the prompt is in
    `message_start` if the server states it in its first chunk.
    """

    def __init__(self, *, model: str) -> None:
        super().__init__()
        self._model = model
        self._blocks = 0
        # The kind of the open block, `text` or `thinking`, and its index.
        self._open = ("", -1)
        # The index of each call's block, by the call's place.
        self._calls: dict[int, int] = {}
        self._refused = False

    def begin(self, chunk: Mapping[str, Any]) -> bytes:
        message = messages_answer.begun(chunk, self._model)
        message["usage"] = messages_answer.usage_object(chat_answers.usage_of(chunk) or Usage())
        return sse.named({"type": "message_start", "message": message})

    def reasoning(self, text: str) -> bytes:
        start = self._opened({"type": "thinking", "thinking": "", "signature": ""})
        return start + self._delta(self._open[1], {"type": "thinking_delta", "thinking": text})

    def text(self, text: str) -> bytes:
        start = self._opened({"type": "text", "text": ""})
        return start + self._delta(self._open[1], {"type": "text_delta", "text": text})

    def refusal(self, text: str) -> bytes:
        self._refused = True
        return self.text(text)

    def call(self, part: CallPart) -> bytes:
        found = b""
        if part.place not in self._calls:
            found = self._closed()
            place = len(self._calls)
            block = {"type": "tool_use", "id": messages_answer.call_id(part.id, place)}
            found += self._started({**block, "name": part.name, "input": {}})
            self._calls[part.place] = self._blocks - 1
        if part.arguments:
            delta = {"type": "input_json_delta", "partial_json": part.arguments}
            found += self._delta(self._calls[part.place], delta)
        return found

    def finish(self, choice: Mapping[str, Any]) -> bytes:
        found = self._closed()
        found += b"".join(self._stopped(index) for index in self._calls.values())
        delta = {
            "stop_reason": messages_answer.stop_reason(choice, refused=self._refused, called=bool(self._calls)),
            "stop_sequence": messages_answer.stop_sequence(choice),
        }
        usage = messages_answer.usage_object(self.usage or Usage())
        found += sse.named({"type": "message_delta", "delta": delta, "usage": usage})
        return found + sse.named({"type": "message_stop"})

    def error_event(self, error: NoaError) -> bytes:
        return sse.named(anthropic_error(error))

    def _opened(self, block: dict[str, Any]) -> bytes:
        """The events before a piece of `block`: none while a block of its kind is open."""
        if self._open[0] == block["type"]:
            return b""
        found = self._closed() + self._started(block)
        self._open = (block["type"], self._blocks - 1)
        return found

    def _started(self, block: dict[str, Any]) -> bytes:
        index, self._blocks = self._blocks, self._blocks + 1
        return sse.named({"type": "content_block_start", "index": index, "content_block": block})

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        return sse.named({"type": "content_block_delta", "index": index, "delta": delta})

    def _closed(self) -> bytes:
        kind, index = self._open
        self._open = ("", -1)
        return self._stopped(index) if kind else b""

    def _stopped(self, index: int) -> bytes:
        return sse.named({"type": "content_block_stop", "index": index})
