"""Translates a stream of Anthropic's Messages API to chunks of OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models_app.domain.errors import NoaError
from models_app.providers.anthropic.answer import (
    arguments_of,
    chat_id,
    finish_reason,
    first_counts,
    known_counts,
    thinking_block,
    tool_call,
    usage_object,
    usage_of,
)
from models_app.providers.anthropic.request import JSON_TOOL
from models_app.providers.wire import sse
from models_app.providers.wire.chat_answers import text_of
from models_app.providers.wire.json_events import JsonEvents, is_object

Value = Mapping[str, Any]

# More blocks than any valid answer has, and more characters of thinking to hold until their block ends.
_MAX_BLOCKS = 1024
_MAX_THINKING = 4 * 1024 * 1024


@dataclass(slots=True)
class _Block:
    """A block that has begun: `raw` is its `content_block_start`, the rest is collected from its deltas."""

    raw: Mapping[str, Any] = field(default_factory=dict)
    thinking: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    size: int = 0
    has_input: bool = False

    def keep(self, parts: list[str], text: str) -> None:
        self.size += len(text)
        if self.size <= _MAX_THINKING:
            parts.append(text)

    def whole_thinking(self) -> dict[str, Any] | None:
        """The block that the client sends back; None if it was too long to hold, since a part would be refused."""
        if self.size > _MAX_THINKING:
            return None
        found = thinking_block(self.raw)
        for name, parts in (("thinking", self.thinking), ("signature", self.signature)):
            if parts:
                found[name] = found.get(name, "") + "".join(parts)
        return found


class AnthropicStream(JsonEvents):
    """Ends with a chunk of usage, if that is known, and `[DONE]`.

    A stream with an error event, or one that cannot be parsed, ends with OpenAI's error event and without `[DONE]`;
    one that is cut ends without either.
    """

    def __init__(self, *, model: str, created: int) -> None:
        super().__init__()
        self._base: dict[str, Any] = {
            "id": chat_id({}),
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._counts: dict[str, Any] = {}
        # Blocks that have begun, by their index in Anthropic's message.
        self._blocks: dict[int, _Block] = {}
        # The place of a call among the calls, by the index of its block.
        self._calls: dict[int, int] = {}
        self._events: dict[str, Callable[[Value], bytes]] = {
            "message_start": self._begin,
            "content_block_start": self._begin_block,
            "content_block_delta": self._continue_block,
            "content_block_stop": self._end_block,
            "message_delta": self._finish,
            "message_stop": self._stop,
            "error": self._fail,
        }

    def end(self) -> bytes:
        events = [data for _, data in self._reader.end() if is_object(data)]
        return b"".join(self._translated(data) for data in events)

    def error_event(self, error: NoaError) -> bytes:
        return sse.unnamed(error.body())

    def take(self, value: Value) -> bytes:
        # Anthropic reserves the right to add events that today's clients do not support.
        translate = self._events.get(text_of(value, "type"))
        return translate(value) if translate else b""

    def _chunk(self, delta: Value, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse.unnamed({**self._base, "choices": [choice]})

    def _count(self, counts: object) -> None:
        if isinstance(counts, dict):
            # Counts are cumulative, and the last event repeats only some of them.
            self._counts.update(known_counts(counts))
            self.usage = usage_of(self._counts)

    def _begin(self, value: Value) -> bytes:
        message = _inner(value, "message")
        self._base["id"] = chat_id(message)
        self._count(first_counts(message.get("usage")))
        return self._chunk({"role": "assistant", "content": ""})

    def _begin_block(self, value: Value) -> bytes:
        block, index = _inner(value, "content_block"), _index(value)
        self._blocks[index] = _Block(block)
        if block.get("type") == "tool_use" and block.get("name") != JSON_TOOL:
            place = self._calls[index] = len(self._calls)
            return self._chunk({"tool_calls": [{"index": place, **tool_call(block, "")}]})
        text = text_of(block, "text")
        return self._chunk({"content": text}) if text else b""

    def _continue_block(self, value: Value) -> bytes:
        delta = _inner(value, "delta")
        block = self._blocks.setdefault(_index(value), _Block())
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunk({"content": text_of(delta, "text")})
        if kind == "input_json_delta":
            return self._more_input(_index(value), text_of(delta, "partial_json"))
        if kind == "signature_delta":
            block.keep(block.signature, text_of(delta, "signature"))
        if kind == "thinking_delta":
            text = text_of(delta, "thinking")
            block.keep(block.thinking, text)
            return self._chunk({"reasoning_content": text})
        return b""

    def _more_input(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        block = self._blocks.setdefault(index, _Block())
        block.has_input = True
        if block.raw.get("name") == JSON_TOOL:
            return self._chunk({"content": text})
        part = {"index": self._calls.get(index, 0), "function": {"arguments": text}}
        return self._chunk({"tool_calls": [part]})

    def _end_block(self, value: Value) -> bytes:
        """Adds the input of a call that streamed none, and repeats a thinking block whole, with its signature."""
        index = _index(value)
        block = self._blocks.get(index, _Block())
        kind = block.raw.get("type")
        if kind in ("thinking", "redacted_thinking"):
            whole = block.whole_thinking()
            return self._chunk({"thinking_blocks": [whole]}) if whole else b""
        if kind == "tool_use" and not block.has_input:
            return self._more_input(index, arguments_of(block.raw))
        return b""

    def _finish(self, value: Value) -> bytes:
        self._count(value.get("usage"))
        stop = text_of(_inner(value, "delta"), "stop_reason")
        return self._chunk({}, finish_reason(stop, has_calls=bool(self._calls))) if stop else b""

    def _stop(self, value: Value) -> bytes:
        self.done = True
        usage = usage_object(self.usage) if self.usage else None
        last = {**self._base, "choices": [], "usage": usage}
        return (sse.unnamed(last) if usage else b"") + sse.DONE

    def _fail(self, value: Value) -> bytes:
        self.done = True
        error = _inner(value, "error")
        kind = text_of(error, "type") or "api_error"
        message = text_of(error, "message") or "The provider could not continue."
        return sse.unnamed({"error": {"message": message, "type": kind, "code": kind, "param": None}})


def _index(value: Value) -> int:
    index = value.get("index")
    return index if type(index) is int and 0 <= index < _MAX_BLOCKS else 0


def _inner(value: Value, name: str) -> Value:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
