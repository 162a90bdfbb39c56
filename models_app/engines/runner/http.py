"""HTTP/1.1 on a unix socket, reduced to what a runner needs.

llhttp (httptools) parses requests; this module writes responses. A framework costs two to three times as much CPU
per streamed chunk, taken from the decode thread, and none lets a handler write a chunk without waking a task and abort
a connection whose peer does not read.

A connection serves one request after the other and is never closed for being idle: the gateway keeps a pool, and a
close would race with its next request. A disconnect cancels the task that serves the request. A peer that closes only
its sending half ends the request too, and still receives its usage.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import httptools
import orjson

from models_app.clocks import Timer
from models_app.domain.errors import InvalidRequest, NoaError, RequestTimeout, RequestTooLarge

logger = logging.getLogger(__name__)

MAX_BODY = 16 * 1024 * 1024
_MAX_HEADERS = 64 * 1024
# Pipelined requests that can wait on one connection; pools send one at a time.
_MAX_PIPELINED = 8
# From the first byte of a request to its last.
_RECEIVE_SECONDS = 60.0
# A connection is aborted when its peer reads nothing for this time, or when this many bytes are unsent.
_STALL_SECONDS = 60.0
_MAX_UNSENT = 4 * 1024 * 1024
# For the usage of a request that its peer has given up; ending it takes one decode step.
_LEFT_SECONDS = 1.0

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"


class Request:
    """A received request and its response: one `respond`, or `start_stream`, `write` and `end`. Responses to a
    disconnected peer are dropped."""

    __slots__ = (
        "_connection",
        "body",
        "keep_alive",
        "method",
        "on_left",
        "path",
        "query",
        "request_id",
        "started",
        "work_id",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        url: bytes,
        *,
        keep_alive: bool,
        request_id: str | None = None,
    ) -> None:
        parsed = httptools.parse_url(url)
        self._connection = connection
        self.method = method
        self.path = unquote((parsed.path or b"").decode("ascii", "replace"))
        self.query = parse_qs((parsed.query or b"").decode("ascii", "replace"))
        self.body = bytearray()
        self.keep_alive = keep_alive
        # The gateway's id of the request, for error bodies.
        self.request_id = request_id
        # The gateway's own id of the request, which no client chooses.
        self.work_id = ""
        self.started = False
        # Ends the work on this request early, so that its response has the usage so far. Without it a disconnect
        # cancels the task.
        self.on_left: Callable[[], None] | None = None

    def respond(self, status: int, data: Any, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Sends `data` as JSON, whole."""
        body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
        length = (b"content-length", b"%d" % len(body))
        head = self._head(status, ((b"content-type", JSON), length, *headers))
        self._connection.send(head if self.method == "HEAD" else head + body)
        self._connection.answered(self)

    def fail(self, error: NoaError) -> None:
        """Sends the error as JSON with its status; inside a stream as its last event, without `[DONE]`."""
        if self.started:
            self.write(b"data: " + orjson.dumps(error.body(self.request_id)) + b"\n\n")
            self.end()
            return
        retry = error.retry_after
        headers = () if retry is None else ((b"retry-after", b"%d" % retry),)
        self.respond(error.http_status, error.body(self.request_id), headers)

    def start_stream(self) -> None:
        headers = (
            (b"content-type", EVENT_STREAM),
            (b"cache-control", b"no-cache"),
            (b"transfer-encoding", b"chunked"),
        )
        self.started = True
        self._connection.send(self._head(200, headers))

    def write(self, chunk: bytes) -> None:
        self._connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self._connection.limit_unsent()

    def end(self) -> None:
        self._connection.send(b"0\r\n\r\n")
        self._connection.answered(self)

    async def flushed(self) -> None:
        """Return once the kernel has the whole answer: the process can then exit without truncating it."""
        await self._connection.flushed()

    def _head(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b" % header for header in headers]
        lines += [] if self.keep_alive else [b"connection: close"]
        return b"\r\n".join(lines) + b"\r\n\r\n"


Serve = Callable[[Request], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One connection. `serve` answers one request; its exceptions become JSON errors here."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._receiving: Request | None = None
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._serving: Request | None = None
        self._url = b""
        self._header_bytes = 0
        self._request_id: str | None = None
        self._work_id = ""
        self._too_large = False
        self._is_chunked = False
        self._deadline: Timer | None = None
        self._stall: Timer | None = None
        self._written = 0
        self._empty = asyncio.Event()
        self._empty.set()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface but not the base class.
        self._transport = cast(asyncio.Transport, transport)
        # Any unsent byte counts as "paused", which `flushed` relies on.
        self._transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(InvalidRequest("This server does not support protocol upgrades.", code="bad_request"))
        except httptools.HttpParserError as error:
            # The parser wraps errors raised in our callbacks.
            cause = error.__context__
            malformed = InvalidRequest(f"This is not an HTTP request: {error}.", code="bad_request")
            self._refuse(cause if isinstance(cause, NoaError) else malformed)

    def eof_received(self) -> bool:
        """The peer has closed, or only its sending half. True keeps the connection open for the usage."""
        request = self._serving
        if request is None or request.on_left is None:
            return False
        self._waiting.clear()
        request.keep_alive = False
        request.on_left()
        self._loop.call_later(_LEFT_SECONDS, self._transport.abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.clear()
        self._disarm()
        if self._stall:
            self._stall.cancel()
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._empty.clear()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._empty.set()
        if self._stall:
            self._stall.cancel()
            self._stall = None

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url, self._header_bytes, self._too_large = b"", 0, False
        self._request_id, self._work_id, self._is_chunked = None, "", False
        self._deadline = Timer(self._loop, _RECEIVE_SECONDS, self._receive_too_long)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        lower = name.lower()
        if lower == b"content-length":
            self._too_large = int(value) > MAX_BODY
        elif lower == b"x-request-id":
            self._request_id = value.decode("latin-1")
        elif lower == b"x-noa-request":
            self._work_id = value.decode("latin-1")
        elif lower == b"transfer-encoding":
            # The parser takes `gzip, chunked` for `chunked`.
            if self._is_chunked or value.lower() != b"chunked":
                raise InvalidRequest("The only accepted Transfer-Encoding is 'chunked'.", code="bad_request")
            self._is_chunked = True
        elif lower == b"expect" and value.lower() == b"100-continue" and not self._too_large:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.get_http_version() != "1.1":
            raise InvalidRequest("This server requires HTTP/1.1.", code="bad_request")
        if parser.should_upgrade():
            raise InvalidRequest("This server does not support protocol upgrades.", code="bad_request")
        keep_alive = parser.should_keep_alive() and not self._too_large
        method = parser.get_method().decode("ascii")
        self._receiving = Request(self, method, self._url, keep_alive=keep_alive, request_id=self._request_id)
        self._receiving.work_id = self._work_id

    def on_body(self, body: bytes) -> None:
        assert self._receiving is not None
        if len(self._receiving.body) + len(body) > MAX_BODY:
            self._too_large, self._receiving.keep_alive = True, False
        # The rest is read and discarded: closing now would reset the connection before the peer reads the answer.
        if not self._too_large:
            self._receiving.body += body

    def on_message_complete(self) -> None:
        self._disarm()
        request, self._receiving = self._receiving, None
        assert request is not None
        self._waiting.append(request)
        if self._too_large:
            limit = f"{MAX_BODY // 1024**2} MiB"
            request.fail(RequestTooLarge(f"The body is larger than {limit}. Send less."))
        elif self._task is None:
            self._start_next()
        elif len(self._waiting) > _MAX_PIPELINED:
            self._transport.abort()

    # Answers

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    async def flushed(self) -> None:
        await self._empty.wait()

    def limit_unsent(self) -> None:
        if self._transport.get_write_buffer_size() > _MAX_UNSENT:
            self._abort()

    def answered(self, request: Request) -> None:
        if not request.keep_alive:
            self._transport.close()

    def _start_next(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._serving = self._waiting.popleft()
            self._task = self._loop.create_task(self._answer(self._serving))
            self._task.add_done_callback(self._finished)

    def _finished(self, _task: asyncio.Task[None]) -> None:
        self._task = self._serving = None
        self._start_next()

    async def _answer(self, request: Request) -> None:
        try:
            await self._serve(request)
        except NoaError as error:
            request.fail(error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            request.fail(NoaError("Internal error of the runner. Its log has the details."))

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADERS:
            raise InvalidRequest("The request's headers are too large.", code="bad_request")

    def _receive_too_long(self) -> None:
        self._refuse(RequestTimeout("The request did not arrive in time."))

    def _refuse(self, error: NoaError) -> None:
        """Answer a malformed request, and close."""
        if self._task is None:
            Request(self, "", b"/", keep_alive=False).fail(error)
        else:
            self._transport.abort()

    def _watch_reader(self) -> None:
        taken = self._written - self._transport.get_write_buffer_size()
        self._stall = Timer(self._loop, _STALL_SECONDS, lambda: self._check_reader(taken))

    def _check_reader(self, taken_before: int) -> None:
        if self._written - self._transport.get_write_buffer_size() > taken_before:
            self._watch_reader()
        else:
            self._abort()

    def _abort(self) -> None:
        logger.warning("a peer does not read its answer: aborting its connection")
        self._transport.abort()

    def _disarm(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
