"""Forwards an answer that has begun to the client, and records its tokens and cost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable

from models_app import clocks
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.keep_alive import EVENT_STREAM, STREAM_HEADERS
from models_app.gateway.calls.meter import Meter
from models_app.gateway.dialects import usage
from models_app.gateway.dialects.streams import ErrorEvent, EventFence, Pipeline, json_error
from models_app.gateway.forwarding import exchanges
from models_app.gateway.forwarding.exchanges import Exchange
from models_app.gateway.http.errors import JSON
from models_app.gateway.http.types import Header
from models_app.gateway.http.watch import Watch
from models_app.gateway.routing.inference import Inference
from models_app.gateway.upstream.connection import Broken, Connection, Malformed, UpstreamError
from models_app.providers.wire import sse, whole_answers

# A whole answer is held back up to this size: until then a runner's death is a clean 502, not a cut body.
HOLD_BYTES = 1024 * 1024
# A translated answer must be held whole. Texts are far below; only embeddings are larger, and never translated.
_MAX_TRANSLATED_BYTES = 16 * 1024 * 1024
# The largest legitimate answer is 2,048 embeddings of 3,072 numbers each, written as text.
_MAX_LONG_BYTES = 256 * 1024 * 1024
# After the last event a server ends its transfer at once; otherwise its connection is closed.
_SETTLE_SECONDS = 0.25
# How long a server whose answer is not wanted any more has to send its counts: a runner needs milliseconds.
LEAVE_SECONDS = 0.25
# Of the events that arrive in that time, so many bytes are parsed; of a longer rest only the number counts.
_MAX_PARSED_REST = 64 * 1024
# White space behind the last brace of an answer.
_MAX_SPACE = 64
# Upstream headers that reach the client.
_PASSED_HEADERS = (b"content-type", b"retry-after")


# Answers of runners in their own dialect: trusted, so forwarded without parsing


def runner_answer(inference: Inference, connection: Connection) -> Awaitable[None]:
    """Returns the coroutine that forwards the answer; it raises UpstreamError when the answer breaks."""
    if connection.headers.get(b"content-type", b"").startswith(EVENT_STREAM):
        return _pass_events(inference, connection)
    return _pass_whole(inference, connection)


async def _pass_events(inference: Inference, connection: Connection) -> None:
    """A stream: nothing is sent before its first byte, so that until then an error has an HTTP status."""
    call, watch = inference.call, inference.watch
    record, meter = call.record, call.meter
    fence = EventFence()
    tail = usage.UsageTail()
    data = await connection.read()
    record.ttft_ms = (time.time() - record.started_at) * 1000
    await call.start(connection.status, [*_passed(connection), *STREAM_HEADERS])
    call.is_events = True
    try:
        while data:
            watch.received = True
            whole = fence.feed(data)
            if whole:
                tail.feed(whole)
                await call.write(_without_counts(whole))
                call.answered = whole.endswith(sse.DONE)
            data = await connection.read()
    except asyncio.CancelledError:
        # The client left, or it took too long: the runner stops, and states what it has computed.
        tail.feed(await connection.leave(LEAVE_SECONDS, announce=True))
        raise
    finally:
        counts = tail.counts()
        meter.state(counts, is_finished=call.answered or counts.completion is not None)
        # The first event names the role.
        meter.produced.pieces = max(0, tail.events - 1)
    await call.finish(fence.rest())


def _without_counts(events: bytes) -> bytes:
    """Events of a runner without its comment with the counts: some clients take no line that begins with a colon."""
    start = 0 if events.startswith(sse.COUNTS) else events.find(b"\n\n" + sse.COUNTS) + 2
    # A miss is -1, which the addition makes 1.
    if start == 1:
        return events
    return events[:start] + events[events.index(b"\n\n", start) + 2 :]


async def _pass_whole(inference: Inference, connection: Connection) -> None:
    call = inference.call
    body = connection.take() if connection.complete else await connection.read_whole(HOLD_BYTES)
    if call.is_held_open and connection.status < 400:
        raise Malformed("it is not a stream of events")
    if not connection.complete:
        await _pass_long(inference, connection, body)
        return
    if connection.status >= 400:
        call.record.error_code = str(json_error(body).get("code", ""))
        call.meter.free()
    # The head states the cost. Where it has none, the counts are read after the client has its answer.
    if call.meter.is_priced:
        call.meter.whole(usage.counts_in(body), body)
    await call.answer(connection.status, _passed(connection), body)
    if not call.meter.is_priced:
        call.meter.whole(usage.counts_in(body), body)


async def _pass_long(inference: Inference, connection: Connection, data: bytes) -> None:
    """An answer that is too long to be held: after its first part, a break leaves it unfinished."""
    call, watch = inference.call, inference.watch
    tail = usage.UsageTail()
    headers = _passed(connection)
    if length := connection.headers.get(b"content-length"):
        headers.append((b"content-length", length))
    await call.start(connection.status, headers)
    size, end = 0, b""
    while data:
        watch.received = True
        size += len(data)
        if size > _MAX_LONG_BYTES:
            raise Malformed("it does not end")
        end = data[-_MAX_SPACE:].rstrip() or end
        tail.feed(data)
        await call.write(data)
        data = await connection.read()
    call.meter.long(tail.counts(), size)
    # The only sign that one without a length was cut.
    if not end.endswith(b"}"):
        raise Broken("cut")
    await call.finish()


def _passed(connection: Connection) -> list[Header]:
    headers = [(name, connection.headers[name]) for name in _PASSED_HEADERS if name in connection.headers]
    if b"content-type" not in connection.headers:
        headers.append(JSON)
    return headers


# Answers of providers, or in another dialect: every part is inspected


async def exchanged(inference: Inference, connection: Connection, exchange: Exchange) -> None:
    """Forwards the answer. Raises UpstreamError or ErrorEvent when it breaks: an HTTP status until the first event."""
    if inference.body.stream:
        await _exchange_events(inference, connection, exchange.stream)
    else:
        await _exchange_whole(inference, connection, exchange)


async def _exchange_events(inference: Inference, connection: Connection, stream: Pipeline) -> None:
    call, watch = inference.call, inference.watch
    if inference.endpoint.dialect is not None:
        call.error_event = lambda error, _: stream.error(error)
    try:
        if not connection.headers.get(b"content-type", b"").lower().startswith(EVENT_STREAM):
            whole = await _instead_of_events(connection, watch, stream)
            await _write_events(call, stream.feed(whole), stream)
        while not stream.done and (data := await connection.read()):
            watch.received = True
            events = stream.feed(data)
            if events:
                await _write_events(call, events, stream)
            elif inference.keep_alive is not None:
                inference.keep_alive.relay()
        await _write_events(call, stream.end(), stream)
    except asyncio.CancelledError:
        await _count_rest(call.meter, connection, stream)
        raise
    finally:
        call.meter.state(stream.usage, is_finished=stream.is_whole)
    await call.finish()
    await _settle(connection)


async def _instead_of_events(connection: Connection, watch: Watch, stream: Pipeline) -> bytes:
    """A whole answer, as events; empty if the body consists of events, though its type is another.

    Raises ErrorEvent if it is an error: some servers send one with status 200.
    """
    first = await connection.read()
    connection.unread(first)
    if not first.lstrip().startswith((b"{", b"<")):
        if first:
            return b""
        raise Malformed("it is empty")
    body, is_whole = await _held(connection, watch, _MAX_TRANSLATED_BYTES)
    if not is_whole or not body.lstrip().startswith(b"{"):
        raise Malformed("it is not a stream of events")
    answer = exchanges.parsed(body)
    if not stream.reads_chunks or not isinstance(answer.get("choices"), list):
        raise Malformed("it is not a stream of events")
    return whole_answers.as_stream(answer)


async def _write_events(call: Call, data: bytes, stream: Pipeline) -> None:
    if not data:
        return
    if not call.started:
        record = call.record
        record.ttft_ms = (time.time() - record.started_at) * 1000
        await call.start(200, [(b"content-type", EVENT_STREAM), *STREAM_HEADERS])
        call.is_events = True
    await call.write(data)
    call.answered = stream.done


async def _settle(connection: Connection) -> None:
    """Reads to the end of the transfer, so that the connection can be reused. The client has its answer already."""
    try:
        async with clocks.timeout(_SETTLE_SECONDS):
            while await connection.read():
                pass
    except (TimeoutError, UpstreamError):
        connection.abort()


async def _count_rest(meter: Meter, connection: Connection, stream: Pipeline) -> None:
    """Counts what the server has sent when the client leaves: it is paid for, read or not.

    The last event with the counts is often part of it. The stream is not read to its end: a server that notices that
    its connection is closed stops, and what it does not generate costs nothing.
    """
    rest = await connection.leave(LEAVE_SECONDS, announce=meter.is_runner)
    counts = usage.counts_in(rest)
    if meter.is_runner and counts.completion is not None:
        meter.state(counts, is_finished=True)
    elif len(rest) > _MAX_PARSED_REST:
        meter.produced.pieces += rest.count(b"\n\n")
    else:
        with contextlib.suppress(UpstreamError, ErrorEvent):
            stream.feed(rest)


async def _exchange_whole(inference: Inference, connection: Connection, exchange: Exchange) -> None:
    call = inference.call
    limit = HOLD_BYTES if exchange.is_native else _MAX_TRANSLATED_BYTES
    body, is_whole = await _held(connection, inference.watch, limit)
    if is_whole:
        answer, counts = exchange.whole(body)
        call.meter.whole(counts, body)
        await call.answer(200, [JSON], answer)
        return
    if not body.lstrip().startswith(b"{"):
        raise Malformed("it is not a JSON object")
    if not exchange.is_native:
        raise Malformed("it is too long")
    connection.headers[b"content-type"] = JSON[1]
    connection.headers.pop(b"retry-after", None)
    await _pass_long(inference, connection, body)


async def _held(connection: Connection, watch: Watch, limit: int) -> tuple[bytes, bool]:
    """The body and True, or its beginning and False when it is longer than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while size <= limit and (data := await connection.read()):
        watch.received = True
        parts.append(data)
        size += len(data)
    return b"".join(parts), size <= limit
