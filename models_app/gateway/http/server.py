"""The HTTP server: uvicorn with deadlines and limits for requests, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, ClassVar, Literal, cast

import orjson
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from models_app.clocks import Timer, awake
from models_app.domain.errors import InvalidRequest, NoaError, RequestTimeout
from models_app.engines import descriptors
from models_app.engines.accepting import AcceptedProtocol, Acceptor
from models_app.engines.connections import Connections, TrustedProxies
from models_app.gateway.http.batching import BatchingTransport
from models_app.gateway.http.old_clients import unchunked
from models_app.gateway.http.types import ANSWER_EXTENSION, CONNECTION_EXTENSION, Header

# Queued requests of one connection. A client that pipelines more is not waiting for answers.
_MAX_PIPELINED = 16
# Poll interval for the end of the last connection.
_POLL_SECONDS = 0.05

_Phase = Literal["idle", "headers", "body"]


class HeadersTooLarge(InvalidRequest):
    http_status = 431
    default_code = "headers_too_large"


class FrontProtocol(HttpToolsProtocol, AcceptedProtocol):
    """uvicorn's protocol, with deadlines and with limits for headers, which it lacks.

    Times are seconds. A request whose headers or body do not arrive in time is answered with 408; a client that
    does not read its answer is disconnected.
    """

    header_seconds: ClassVar[float] = 10.0
    body_seconds: ClassVar[float] = 60.0
    # Since the write buffer was full, or since an answer was left in it.
    write_seconds: ClassVar[float] = 60.0
    max_headers: ClassVar[int] = 100
    # Of one request's line and headers; also of bytes without one byte of body (chunk extensions, trailers).
    max_header_bytes: ClassVar[int] = 64 * 1024
    # Set at shutdown: the answer to the next request on a connection closes it.
    last_request: ClassVar[bool] = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase: _Phase = "idle"
        self._timed_phase: _Phase = "idle"
        self._deadline: Timer | None = None
        self._write_deadline: Timer | None = None
        self._overhead_bytes = 0
        self._read_bytes = 0
        self._refusal: NoaError | None = None
        # The cycle whose application runs; uvicorn's `cycle` is the one that is being received.
        self._running: RequestResponseCycle | None = None
        self._batching: BatchingTransport
        # Set by the application once a request had a valid key.
        self.is_proven = False
        # Set by the server: it ends quiet connections when there are too many.
        self.connections_of_process: Connections | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._batching = BatchingTransport(transport, self.loop)
        super().connection_made(self._batching)
        self._phase = "headers"
        self._time_phase()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._write_deadline, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        if self.connections_of_process is not None:
            self.connections_of_process.closed(self)
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self.connections_of_process is not None:
            self.connections_of_process.active(self)
        self._read_bytes = len(data)
        self._overhead_bytes += self._read_bytes
        super().data_received(data)
        if self._phase != "idle" and self._overhead_bytes > self.max_header_bytes:
            self._refuse(_headers_too_large(self.max_header_bytes))
        elif self._phase != self._timed_phase:
            self._time_phase()

    @property
    def end_order(self) -> int | None:
        """Without a key: first idle clients and those that do not send or read, last those that wait for an answer.

        With a key, idle ones come between them, and an answer in progress is never cut.
        """
        running = self._running
        if running is None or running.response_complete:
            return 1 if self.is_proven else 0
        if self.is_proven:
            return None
        is_sending = self._phase == "body" and running is self.cycle
        return 0 if is_sending or self.flow.write_paused else 2

    def end(self) -> None:
        # uvicorn declares the type that it has once it is connected.
        transport = cast(asyncio.Transport | None, self.transport)
        if transport is None:
            self.abandon()
        else:
            transport.abort()

    # The parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # ASGI's extensions are dictionaries by its types; ours is the function itself.
        extensions: Any = {ANSWER_EXTENSION: {"whole": self._answer_whole}, CONNECTION_EXTENSION: self}
        self.scope["extensions"] = extensions
        self._phase = "headers"

    def on_headers_complete(self) -> None:
        self._check_head()
        self._phase = "body"
        super().on_headers_complete()
        if self.last_request and self.cycle is not None:
            self.cycle.keep_alive = False
        # uvicorn would add trailers to the headers of a request that already runs.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = "idle"
        self._overhead_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            app = unchunked(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """No warning: the request is answered without the upgrade, and any client could fill the log with it."""

    def _check_head(self) -> None:
        """Raises when the line or the headers are not acceptable; the parser turns that into `send_400_response`."""
        if len(self.headers) > self.max_headers:
            self._refusal = HeadersTooLarge(f"The request has more than {self.max_headers} headers. Send fewer.")
        elif self._head_size() > self.max_header_bytes:
            self._refusal = _headers_too_large(self.max_header_bytes)
        elif not self.url.startswith(b"/") and self.url != b"*":
            # The absolute form names a second host beside the Host header; only proxies use it.
            self._refusal = InvalidRequest("The request target must be a path.", code="invalid_http")
        elif len(self.pipeline) >= _MAX_PIPELINED:
            self._refusal = InvalidRequest("Too many requests wait on this connection.", code="invalid_http")
        elif not _is_plainly_chunked(self.headers, self.parser.get_http_version()):
            self._refusal = InvalidRequest(
                "The only accepted Transfer-Encoding is 'chunked', once and without another.", code="invalid_http"
            )
        if self._refusal is not None:
            raise self._refusal

    def _head_size(self) -> int:
        if self._read_bytes <= self.max_header_bytes:
            return self._overhead_bytes
        # The read can also contain a body: only then is counting the headers worth its cost.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _answer_whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """The extension `ANSWER_EXTENSION`. The caller must pass valid headers, which uvicorn would check again."""
        cycle = self._running
        if cycle is None or cycle.disconnected or cycle.response_started:
            return
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self._batching.write_through(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    # The deadline for receiving

    def _time_phase(self) -> None:
        self._timed_phase = self._phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._phase != "idle":
            seconds = self.header_seconds if self._phase == "headers" else self.body_seconds
            self._deadline = Timer(self.loop, seconds, self._receive_overdue)

    def _receive_overdue(self) -> None:
        running = self._running
        if running is not None and not running.response_complete and running is not self.cycle:
            # An answer is in progress; the late request is the one behind it.
            self._time_phase()
            return
        self._refuse(RequestTimeout("The request did not arrive in time. Send it at once."))

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or InvalidRequest("This is not a valid HTTP request.", code="invalid_http"))

    def _refuse(self, error: NoaError) -> None:
        """Answers with `error` unless an answer has begun, and closes the connection."""
        self._refusal = error
        self._phase = "idle"
        if self.transport.is_closing():
            return
        running = self._running
        if running is None or running.response_complete:
            self.transport.write(_raw_answer(error))
        else:
            if running is self.cycle and not running.response_started:
                self.transport.write(_raw_answer(error))
            running.disconnected = True
            running.message_event.set()
        self.transport.close()
        self._abort_when_stuck()

    # The deadline for a client that does not read

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_when_stuck()
        if self.connections_of_process is not None:
            self.connections_of_process.changed()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline is not None and not self.transport.is_closing():
            self._write_deadline.cancel()
            self._write_deadline = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._batching.flush()
        if self.connections_of_process is not None:
            self.connections_of_process.active(self)
        if self.transport.is_closing():
            self._abort_when_stuck()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._abort_when_stuck()

    def _abort_when_stuck(self) -> None:
        # close() waits without a limit for the client to read the buffer.
        if self._write_deadline is None:
            self._write_deadline = Timer(self.loop, self.write_seconds, self.transport.abort)


class Server(uvicorn.Server):
    """A uvicorn server that finishes requests before it closes connections.

    uvicorn waits for open streams first and shuts the application down last; `before_shutdown` runs before both, while
    new connections are still accepted. If other processes accept on the same socket, `hand_over` leaves new connections
    to them: `leave` ends endless streams, each connection gets its pending answers, then the shutdown begins.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        before_shutdown: Callable[[], Awaitable[None]],
        *,
        on_ready: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
        connections: Connections | None = None,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        super().__init__(config)
        self.connections = default_connections() if connections is None else connections
        self._trusted = TrustedProxies(trusted_proxies)
        self._before_shutdown = before_shutdown
        self._on_ready = on_ready
        self._leave = leave
        self.handing_over = False

    def hand_over(self) -> None:
        """Shut down without refusing or cutting a request. Safe in a signal handler."""
        self.handing_over = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Like uvicorn's, with an acceptor that bounds the connections."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        acceptors = [self._acceptor(listener) for listener in sockets or [self.config.bind_socket()]]

        def resume() -> None:
            for acceptor in acceptors:
                acceptor.resume()

        self.connections.on_room = resume
        resume()
        self.servers = cast(Any, acceptors)
        self.started = True
        self._on_ready()

    def _acceptor(self, listener: socket.socket) -> Acceptor:
        listener.setblocking(False)
        listener.listen(self.config.backlog)
        return Acceptor(listener, self._make_protocol, self.connections, self._trusted)

    def _make_protocol(self) -> FrontProtocol:
        make = cast(type[FrontProtocol], self.config.http_protocol_class)
        protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        protocol.connections_of_process = self.connections
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.handing_over:
            await self._finish_connections()
        await self._before_shutdown()
        await super().shutdown(sockets)

    async def _finish_connections(self) -> None:
        """Closes the listening sockets; a kept-alive connection can carry one more request until its idle timeout."""
        for server in self.servers:
            server.close()
        FrontProtocol.last_request = True
        self._leave()
        deadline = awake() + (self.config.timeout_graceful_shutdown or 0)
        while self.server_state.connections and awake() < deadline and not self.force_exit:
            await asyncio.sleep(_POLL_SECONDS)


def default_connections(total: int = 0, per_address: int = 0) -> Connections:
    """Zero is what the limit of file descriptors allows, and half of the total."""
    total = total or descriptors.connections(descriptors.limit())
    return Connections(total=total, per_address=per_address or max(1, total // 2))


def settle_memory() -> None:
    """Excludes all present objects from garbage collection; call it once everything is imported.

    A request creates few cyclic objects, so collections can be rare; each one delays the requests in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _is_plainly_chunked(headers: list[Header], version: str) -> bool:
    """False for every transfer coding besides `chunked`: the parser would take `gzip, chunked` for it.

    HTTP/1.0 has no transfer codings: a proxy that speaks it has found another end of the body.
    """
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    return not codings or (len(codings) == 1 and codings[0].lower() == b"chunked" and version == "1.1")


def _headers_too_large(limit: int) -> HeadersTooLarge:
    return HeadersTooLarge(f"The headers are larger than {limit // 1024} KiB. Send fewer or shorter ones.")


def _raw_answer(error: NoaError) -> bytes:
    body = orjson.dumps(error.body())
    return (
        f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode("ascii") + body
