"""Pings for a stream that has nothing to send: proxies close a connection that is silent for a minute."""

from __future__ import annotations

from types import TracebackType

from models_app.gateway.calls.call import Call
from models_app.gateway.http.types import Header
from models_app.gateway.http.watch import Watch

EVENT_STREAM = b"text/event-stream"
STREAM_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
# A provider's own ping is passed on after a silence of so many seconds: many send one beside their first event.
_RELAY_SECONDS = 1.0


class KeepAlive:
    """`with KeepAlive(…) as alive:` around the work on one request for a stream.

    Pings also while a model is loaded, a prompt is read and attempts are retried. The first one begins the answer, with
    status 200, so that from then on an error is an event. It is neither the first token nor an attempt.
    """

    def __init__(self, call: Call, watch: Watch, ping: bytes, seconds: float) -> None:
        """`ping` is sent after `seconds` without another write; 0: never by itself."""
        self._call = call
        self._watch = watch
        self._ping = ping
        self._seconds = seconds
        self._silent_since: float | None = None
        self._now = 0.0

    def __enter__(self) -> KeepAlive:
        self._watch.on_tick = self._tick
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.on_tick = None

    def relay(self) -> None:
        """The server of the model has sent something that is not for the client, such as a ping of its own."""
        if self._silence() >= _RELAY_SECONDS:
            self._send()

    def _tick(self, now: float) -> None:
        self._now = now
        if self._seconds and self._silence() >= self._seconds:
            self._send()

    def _silence(self) -> float:
        """Seconds without a write, as of the last tick."""
        if self._call.wrote or self._silent_since is None:
            self._call.wrote = False
            self._silent_since = self._now
        return self._now - self._silent_since

    def _send(self) -> None:
        if self._call.finished:
            return
        headers: list[Header] = [(b"content-type", EVENT_STREAM), *STREAM_HEADERS]
        sending = self._call.ping(self._ping, headers)
        try:
            # Not in a task, which could run after the end of the answer.
            sending.send(None)
        except StopIteration:
            return
        # It waits, because the client does not read what was sent before: no ping is needed.
        sending.close()
