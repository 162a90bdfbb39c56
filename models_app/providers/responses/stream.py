"""Translates a stream of OpenAI's chat completions to events of its Responses API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models_app.domain.errors import NoaError
from models_app.providers.responses import answer as responses_answer
from models_app.providers.responses.answer import Item
from models_app.providers.wire import chat_answers, sse
from models_app.providers.wire.chat_chunks import CallPart, ChunkReader

# Characters. The last event repeats the whole answer, so it must be held; no valid answer is longer.
_MAX_KEPT = 16 * 1024 * 1024
# For each kind of part: the name of its events, the field of its text, and the function that builds it.
_PARTS: Mapping[str, tuple[str, str, Callable[[str], Item]]] = {
    "reasoning": ("response.reasoning_text", "text", responses_answer.reasoning_part),
    "text": ("response.output_text", "text", responses_answer.text_part),
    "refusal": ("response.refusal", "refusal", responses_answer.refusal_part),
}


@dataclass(slots=True)
class _Open:
    """An output item that has begun: its index, its kind of part, and its content so far."""

    index: int
    kind: str
    pieces: list[str] = field(default_factory=list)
    id: str = ""
    place: int = 0
    call_id: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponsesStream(ChunkReader):
    """Each kind of text is an output item with one content part; it ends when another one begins. Calls end together,
    since the pieces of several calls can be interleaved."""

    def __init__(self, *, model: str, created: int) -> None:
        super().__init__()
        self._number = -1
        self._name = "unknown"
        self._model, self._created = model, created
        self._response = responses_answer.response(self._name, model=model, created=created)
        # Finished items by their index.
        self._output: dict[int, Item] = {}
        self._items = 0
        self._open: _Open | None = None
        self._calls: dict[int, _Open] = {}
        self._kept = 0

    def begin(self, chunk: Mapping[str, Any]) -> bytes:
        self._name = chat_answers.name_of(chunk)
        self._response = responses_answer.response(self._name, model=self._model, created=self._created)
        return b"".join(self._event(f"response.{word}", response=self._response) for word in ("created", "in_progress"))

    def reasoning(self, text: str) -> bytes:
        return self._more("reasoning", text)

    def text(self, text: str) -> bytes:
        return self._more("text", text)

    def refusal(self, text: str) -> bytes:
        return self._more("refusal", text)

    def call(self, part: CallPart) -> bytes:
        found = b""
        if part.place not in self._calls:
            found = self._end_part("completed")
            item = _Open(self._next_index(), "call", place=len(self._calls), call_id=part.id, name=part.name)
            self._calls[part.place] = item
            begun = self._call_item(item, "in_progress")
            item.id = str(begun["id"])
            found += self._event("response.output_item.added", output_index=item.index, item=begun)
        if not part.arguments:
            return found
        item = self._calls[part.place]
        found += self._event(
            "response.function_call_arguments.delta",
            item_id=item.id,
            output_index=item.index,
            delta=part.arguments,
        )
        return found + self._keep(item, part.arguments)

    def finish(self, choice: Mapping[str, Any]) -> bytes:
        status = responses_answer.item_status(choice)
        found = self._end_part(status)
        found += b"".join(self._end_call(item, status) for item in self._calls.values())
        last = responses_answer.finished(self._response, choice, self._outputs(), self.usage)
        return found + self._event(f"response.{last['status']}", response=last)

    def error_event(self, error: NoaError) -> bytes:
        last = responses_answer.failed(self._response, error, self._outputs())
        return self._event("response.failed", response=last)

    def _event(self, kind: str, **values: Any) -> bytes:
        self._number += 1
        return sse.named({"type": kind, "sequence_number": self._number, **values})

    def _next_index(self) -> int:
        self._items += 1
        return self._items - 1

    def _outputs(self) -> list[Item]:
        return [self._output[index] for index in sorted(self._output)]

    def _keep(self, item: _Open, text: str) -> bytes:
        self._kept += len(text)
        if self._kept > _MAX_KEPT:
            return self._broken("it is too long")
        item.pieces.append(text)
        return b""

    def _more(self, kind: str, text: str) -> bytes:
        found = b""
        if self._open is None or self._open.kind != kind:
            found = self._end_part("completed") + self._begin_part(kind)
        assert self._open is not None
        # Only the events of texts have log probabilities.
        more: Item = {"logprobs": []} if kind == "text" else {}
        found += self._event(f"{_PARTS[kind][0]}.delta", **self._where(), delta=text, **more)
        return found + self._keep(self._open, text)

    def _begin_part(self, kind: str) -> bytes:
        self._open = part = _Open(self._next_index(), kind)
        item = {**self._text_item(part, "in_progress"), "content": []}
        part.id = str(item["id"])
        return self._event("response.output_item.added", output_index=part.index, item=item) + self._event(
            "response.content_part.added", **self._where(), part=_PARTS[kind][2]("")
        )

    def _end_part(self, status: str) -> bytes:
        part = self._open
        if part is None:
            return b""
        name, text_field, shape = _PARTS[part.kind]
        where, text = self._where(), part.text
        more: Item = {"logprobs": []} if part.kind == "text" else {}
        self._open = None
        found = self._event(f"{name}.done", **where, **{text_field: text}, **more)
        found += self._event("response.content_part.done", **where, part=shape(text))
        return found + self._end_item(part.index, self._text_item(part, status))

    def _end_call(self, item: _Open, status: str) -> bytes:
        whole = self._call_item(item, status)
        found = self._event(
            "response.function_call_arguments.done",
            item_id=item.id,
            output_index=item.index,
            name=item.name,
            arguments=whole["arguments"],
        )
        return found + self._end_item(item.index, whole)

    def _end_item(self, index: int, item: Item) -> bytes:
        self._output[index] = item
        return self._event("response.output_item.done", output_index=index, item=item)

    def _where(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open.id, "output_index": self._open.index, "content_index": 0}

    def _text_item(self, part: _Open, status: str) -> Item:
        name = f"{self._name}_{part.index}" if part.index else self._name
        if part.kind == "reasoning":
            return responses_answer.reasoning_item(name, part.text, status)
        return responses_answer.message_item(name, [_PARTS[part.kind][2](part.text)], status)

    def _call_item(self, item: _Open, status: str) -> Item:
        return responses_answer.call_item(self._name, item.place, item.call_id, (item.name, item.text), status)
