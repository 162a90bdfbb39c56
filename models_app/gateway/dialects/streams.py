"""Streams of server-sent events on their way to the client: kept whole, inspected, and forwarded unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError
from models_app.gateway.http import errors
from models_app.gateway.upstream.connection import Broken, Malformed
from models_app.providers.anthropic import answer as anthropic_answer
from models_app.providers.wire import chat_answers, sse
from models_app.providers.wire.translation import StreamTranslation

# A longer SSE event is forwarded in parts.
_MAX_HELD_EVENT = sse.MAX_EVENT_BYTES
_FIELDS = frozenset({b"data", b"event", b"id", b"retry", b""})


class ErrorEvent(Exception):
    """The provider ended its stream with an error object."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__("error event")
        self.error = error


class EventFence:
    """Lets only whole SSE events through, so that an error event can follow at any time. Line ends are \\n."""

    __slots__ = ("_held", "_size")

    def __init__(self) -> None:
        # Pieces of an event that has not ended; each is searched once, however many there are.
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        if not self._held and data.endswith(b"\n\n"):
            return data
        before = self._held[-1][-1:] if self._held else b""
        end = (before + data).rfind(b"\n\n")
        if end < 0:
            self._hold(data)
            return self._flush() if self._size > _MAX_HELD_EVENT else b""
        cut = end + 2 - len(before)
        whole = self._flush() + data[:cut]
        self._hold(data[cut:])
        return whole

    def rest(self) -> bytes:
        return b"".join(self._held)

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)

    def _flush(self) -> bytes:
        held, self._held, self._size = b"".join(self._held), [], 0
        return held


Watcher = Callable[[Mapping[str, Any]], None]


def _unwatched(value: Mapping[str, Any]) -> None:
    """For a stream whose events are not counted."""


class EventPass:
    """Base class that forwards a provider's events, with \\n as their line ends. Subclasses inspect each event's JSON.

    Raises Malformed for an invalid event, Broken when the stream ends before its last event, ErrorEvent.
    """

    def __init__(self, watcher: Watcher = _unwatched) -> None:
        """`watcher` receives the JSON of each event."""
        self.usage: Usage | None = None
        # The event that ends the stream has arrived; data after it is dropped.
        self.done = False
        # The model has finished, and its last counts have arrived.
        self.is_counted = False
        self._watcher = watcher
        self._line_ends = sse.LineEnds()
        self._fence = EventFence()

    def feed(self, data: bytes) -> bytes:
        if self.done:
            return b""
        whole = self._fence.feed(self._line_ends.feed(data))
        return self._sift(whole) if whole else b""

    def end(self) -> bytes:
        rest = self._fence.rest() + self._line_ends.end()
        last = b""
        if rest.strip() and not self.done:
            try:
                # The last blank line is often left out.
                last = self._sift(rest + b"\n\n")
            except Malformed:
                raise Broken("the stream ended within an event") from None
        return last + (b"" if self.done else self._missing_end())

    def error(self, error: NoaError) -> bytes:
        return errors.event(error, "")

    def _sift(self, whole: bytes) -> bytes:
        kept: list[bytes] = []
        for event in _events(whole):
            kept.append(self._kept(event))
            if self.done:
                break
        return b"".join(kept)

    def _kept(self, event: bytes) -> bytes:
        """The event as it is sent to the client; empty for one that is hidden."""
        data = _data(event)
        # A comment, or an event that says nothing: a server's ping.
        if not data:
            return b""
        if data == b"[DONE]":
            self.done = True
            return sse.DONE
        value = _object(data)
        error = value.get("error")
        if error:
            raise ErrorEvent(error if isinstance(error, dict) else {"message": str(error)})
        self._watcher(value)
        return _without_comments(event) if self._inspect(value) else b""

    def _inspect(self, value: Mapping[str, Any]) -> bool:
        """Records the usage and the state of the stream from one event; False hides it from the client."""
        raise NotImplementedError

    def _missing_end(self) -> bytes:
        raise Broken("the stream ended early")


class ChatPass(EventPass):
    """OpenAI's chunks. `hide_usage` drops the last one, which only states usage: the client did not request it."""

    def __init__(self, watcher: Watcher = _unwatched, *, hide_usage: bool) -> None:
        super().__init__(watcher)
        self._hide_usage = hide_usage
        self._is_finished = False

    def _inspect(self, value: Mapping[str, Any]) -> bool:
        choices = value.get("choices")
        counts = value.get("usage")
        if isinstance(choices, list):
            self._is_finished = self._is_finished or any(
                isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
            )
        if isinstance(counts, dict):
            self.usage = (self.usage or Usage()).updated(chat_answers.counted(counts))
            self.is_counted = self._is_finished and not choices
            if not choices:
                return not self._hide_usage
        return True

    def _missing_end(self) -> bytes:
        """Some servers close without `[DONE]`: when the model had finished, only that is missing."""
        if not self._is_finished:
            return super()._missing_end()
        self.done = True
        return sse.DONE


class MessagesPass(EventPass):
    """Anthropic's events. Their usage is spread over the first and the last."""

    def __init__(self, watcher: Watcher = _unwatched) -> None:
        super().__init__(watcher)
        self._counts: dict[str, Any] = {}
        self._has_begun = self._is_finished = False

    def error(self, error: NoaError) -> bytes:
        return errors.anthropic_event(error, "")

    def _inspect(self, value: Mapping[str, Any]) -> bool:
        kind = value.get("type")
        if kind == "ping":
            return self._has_begun
        self._has_begun = True
        message = value.get("message") if kind == "message_start" else value
        counts = message.get("usage") if isinstance(message, dict) else None
        if kind == "message_start":
            counts = anthropic_answer.first_counts(counts)
        if isinstance(counts, dict):
            self._counts.update(anthropic_answer.known_counts(counts))
            self.usage = anthropic_answer.usage_of(self._counts)
        if kind == "message_delta":
            delta = value.get("delta")
            self._is_finished = isinstance(delta, dict) and bool(delta.get("stop_reason"))
            self.is_counted = self._is_finished and isinstance(counts, dict)
        self.done = kind == "message_stop"
        return True

    def _missing_end(self) -> bytes:
        if not self._is_finished:
            return super()._missing_end()
        self.done = True
        return sse.named({"type": "message_stop"})


class Pipeline:
    """A chain of translations, the provider's first."""

    def __init__(self, *stages: StreamTranslation) -> None:
        self._stages = stages

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the answer is missing that was counted, whether its end has arrived or not."""
        return self.done or any(isinstance(stage, EventPass) and stage.is_counted for stage in self._stages)

    @property
    def reads_chunks(self) -> bool:
        """Whether the server's own dialect is OpenAI's."""
        return isinstance(self._stages[0], ChatPass)

    @property
    def usage(self) -> Usage | None:
        """The usage of the first stage that reports it: a later translation can lose counts."""
        return next((stage.usage for stage in self._stages if stage.usage is not None), None)

    @property
    def done(self) -> bool:
        return self._stages[-1].done

    def feed(self, data: bytes) -> bytes:
        for stage in self._stages:
            if not data:
                break
            try:
                data = stage.feed(data)
            except orjson.JSONEncodeError:
                raise Malformed("an event of its stream is nested too deeply") from None
        return data

    def end(self) -> bytes:
        """Raises Broken when the client would be left without the last event."""
        data = b""
        for stage in self._stages:
            data = (stage.feed(data) if data else b"") + stage.end()
        if not self.done:
            raise Broken("the stream ended early")
        return data

    def error(self, error: NoaError) -> bytes:
        return self._stages[-1].error(error)


def _events(whole: bytes) -> Iterator[bytes]:
    """Each event with the blank line that ends it."""
    start = 0
    while (end := whole.find(b"\n\n", start)) >= 0:
        yield whole[start : end + 2]
        start = end + 2
    if start < len(whole):
        yield whole[start:]


def _data(event: bytes) -> bytes | None:
    """The data of an event; None for one without data, such as a comment.

    Unknown fields are ignored, as the standard says. Raises Malformed if there are no others: it is a page, or a text.
    """
    lines: list[bytes] = []
    is_event = not event.strip()
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        # A comment has an empty name.
        is_event = is_event or (bool(line) and name in _FIELDS)
        if name == b"data":
            lines.append(value.strip())
    if not is_event:
        raise Malformed("it is not a stream of events")
    return b"\n".join(lines).strip() if lines else None


def _without_comments(event: bytes) -> bytes:
    """Some clients cannot read a line that begins with a colon."""
    if b"\n:" not in event and not event.startswith(b":"):
        return event
    return b"\n".join(line for line in event.split(b"\n") if not line.startswith(b":"))


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("an event of its stream is not valid JSON") from None
    if not isinstance(value, dict):
        raise Malformed("an event of its stream is not a JSON object")
    return value


def json_error(body: bytes) -> Mapping[str, Any]:
    """The error object of a JSON error body; empty for any other body."""
    try:
        error = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}
