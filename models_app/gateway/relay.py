"""Finds the runner that a request means, asks it, and passes its answer on byte by byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from models_app.domain.errors import (
    Draining,
    EngineError,
    ModelNotFound,
    ModelNotLoaded,
    NoaError,
    RunnerDied,
    Unavailable,
)
from models_app.domain.routing import Snapshot, Target
from models_app.gateway import usage
from models_app.gateway.admission import Asked
from models_app.gateway.call import Call
from models_app.gateway.connection import (
    Broken,
    ClosedEarly,
    Connection,
    Malformed,
    Refused,
    UpstreamError,
)
from models_app.gateway.errors import JSON
from models_app.gateway.targets import Endpoint, choose
from models_app.gateway.types import Header
from models_app.gateway.upstream import Upstream
from models_app.gateway.watch import Watch

# A whole answer is held back up to this size: until then a runner's death is a clean 502, not a cut body.
_HOLD_BYTES = 1024 * 1024
# An SSE event that is longer than this is passed on in parts.
_MAX_HELD_EVENT = 1024 * 1024
# Draining, and the restart of a runner, are over with the next snapshot.
_SOON_RETRY_AFTER = 1
# How often a name that the snapshot cannot serve may cause a look at the source.
_MISS_SECONDS = 0.5
# Upstream headers that reach the client. Anything else is between gateway and runner.
_PASSED_HEADERS = (b"content-type", b"retry-after")

_DONE = b"data: [DONE]\n\n"
_EVENT_STREAM = b"text/event-stream"
_STREAM_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class SnapshotSource(Protocol):
    """Where the gateway looks. `current` is read for every request, so it must cost nothing.

    `refresh` fetches a newer snapshot, replaces `current` and returns it; `reason` is for the log. Many requests may
    call it at once, and a caller may be cancelled while it waits.
    """

    @property
    def current(self) -> Snapshot: ...

    async def refresh(self, reason: str) -> Snapshot: ...


class Relay:
    """Shared by all requests of a process: the connections, and where to look for targets."""

    def __init__(self, snapshots: SnapshotSource, upstream: Upstream) -> None:
        self._snapshots = snapshots
        self._upstream = upstream
        self._next_look = 0.0

    async def forward(
        self, call: Call, endpoint: Endpoint, head: bytes, asked: Asked, watch: Watch
    ) -> None:
        """Answers the call, or raises the NoaError that is its answer."""
        request = b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (
            head, call.record.public_id.encode("ascii"), len(asked.raw), asked.raw,
        )  # fmt: skip
        connection = await self._ask(call, endpoint, asked, request)
        try:
            if connection.headers.get(b"content-type", b"").startswith(_EVENT_STREAM):
                await _pass_events(call, connection, watch)
            else:
                await _pass_whole(call, connection, watch)
        except UpstreamError as error:
            raise _as_answer(error) from error
        finally:
            self._upstream.release(connection)

    async def _ask(
        self, call: Call, endpoint: Endpoint, asked: Asked, request: bytes
    ) -> Connection:
        """An answer that has begun. At most one second attempt, after a look at what is true now."""
        try:
            target = choose(self._snapshots.current, endpoint, asked.model, call.record)
        except (ModelNotFound, ModelNotLoaded) as error:
            target = await self._look_again(call, endpoint, asked.model, error)
        try:
            return await self._attempt(call, target, request)
        except (Refused, ClosedEarly, Draining) as error:
            snapshot = await self._snapshots.refresh(f"{target.key}: {error}")
        except UpstreamError as error:
            raise _as_answer(error) from error
        target = choose(snapshot, endpoint, asked.model, call.record)
        try:
            return await self._attempt(call, target, request)
        except UpstreamError as error:
            raise _as_answer(error) from error

    async def _attempt(self, call: Call, target: Target, request: bytes) -> Connection:
        call.record.attempts += 1
        connection = await self._upstream.ask(target.socket, request)
        if connection.status != 503:
            return connection
        return await self._unless_draining(connection)

    async def _unless_draining(self, connection: Connection) -> Connection:
        """Raises Draining when the runner says that it computed nothing; otherwise its answer as it is."""
        try:
            body = await connection.read_whole(_HOLD_BYTES)
        except BaseException:
            connection.abort()
            raise
        if error_code(body) != Draining.default_code:
            connection.unread(body)
            return connection
        self._upstream.release(connection)
        raise Draining(
            "The model is being unloaded and takes no new requests. Try again.",
            retry_after=_SOON_RETRY_AFTER,
        )

    async def _look_again(
        self, call: Call, endpoint: Endpoint, name: str, error: NoaError
    ) -> Target:
        """Looks at the source before it says no: a model may have been loaded a moment ago."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            raise error
        self._next_look = now + _MISS_SECONDS
        snapshot = await self._snapshots.refresh(f"{name[:80]!r} is not served")
        return choose(snapshot, endpoint, name, call.record)


def error_code(body: bytes) -> str:
    """The code of a JSON error body; empty when it is something else."""
    try:
        return str(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


class EventFence:
    """Lets only whole SSE events through, so that an error event can follow at any time."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
            self._held = b""
        if data.endswith((b"\n\n", b"\r\n\r\n")):
            return data
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
        # A miss is -1, which the addition makes 1 or 3.
        if end <= 3:
            end = len(data) if len(data) > _MAX_HELD_EVENT else 0
        self._held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        return self._held


async def _pass_events(call: Call, connection: Connection, watch: Watch) -> None:
    """A stream: nothing is sent before its first byte, so that until then an error has a status of its own."""
    record = call.record
    fence = EventFence()
    tail = usage.UsageTail()
    data = await connection.read()
    record.ttft_ms = (time.time() - record.started_at) * 1000
    await call.start(connection.status, [*_passed(connection), *_STREAM_HEADERS])
    call.is_events = True
    try:
        while data:
            watch.stirred = True
            whole = fence.feed(data)
            if whole:
                tail.feed(whole)
                await call.write(whole)
                call.answered = whole.endswith(_DONE)
            data = await connection.read()
    finally:
        _count(call, tail.counts())
    await call.finish(fence.rest())


async def _pass_whole(call: Call, connection: Connection, watch: Watch) -> None:
    body = connection.take() if connection.complete else await connection.read_whole(_HOLD_BYTES)
    if not connection.complete:
        await _pass_long(call, connection, watch, body)
        return
    if connection.status >= 400:
        call.record.error_code = error_code(body)
    await call.answer(connection.status, _passed(connection), body)
    # The client has its answer while this is looked at.
    _count(call, usage.of_whole(body))


async def _pass_long(call: Call, connection: Connection, watch: Watch, data: bytes) -> None:
    """An answer that is too long to be held: from its first part on, a break can only leave it unfinished."""
    tail = usage.UsageTail()
    headers = _passed(connection)
    if length := connection.headers.get(b"content-length"):
        headers.append((b"content-length", length))
    await call.start(connection.status, headers)
    while data:
        watch.stirred = True
        tail.feed(data)
        await call.write(data)
        data = await connection.read()
    _count(call, tail.counts())
    await call.finish()


def _passed(connection: Connection) -> list[Header]:
    headers = [
        (name, connection.headers[name]) for name in _PASSED_HEADERS if name in connection.headers
    ]
    if b"content-type" not in connection.headers:
        headers.append(JSON)
    return headers


def _count(call: Call, counts: Mapping[str, Any]) -> None:
    if counts:
        call.record.prompt_tokens = usage.tokens(counts, "prompt_tokens")
        call.record.completion_tokens = usage.tokens(counts, "completion_tokens")
        call.record.cached_tokens = usage.cached_tokens(counts)


def _as_answer(error: UpstreamError) -> NoaError:
    if isinstance(error, Refused):
        return Unavailable(
            "The model's runner cannot be reached. It may be restarting: try again.",
            code="runner_unreachable",
            retry_after=_SOON_RETRY_AFTER,
        )
    if isinstance(error, (ClosedEarly, Broken)):
        return RunnerDied("The model's runner ended before its answer was complete. Try again.")
    assert isinstance(error, Malformed)
    return EngineError(
        f"The model's runner gave an answer that cannot be passed on: {error}.",
        code="malformed_answer",
    )
