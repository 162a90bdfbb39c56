"""One HTTP/1.1 connection to a runner or to a provider.

A general client library costs more than everything else on this path together. Every byte that comes back goes
through llhttp (httptools); this module only counts and buffers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from models_app import clocks
from models_app.gateway.upstream.decoding import Decoder, UndecodableBody, decoder_of

_MAX_HEADERS = 100
# Bytes that a peer can send without one byte of body: its headers, then chunk extensions and trailers.
_MAX_OVERHEAD = 64 * 1024
# Reading stops while this much waits for a slow client, and continues once it was forwarded.
_HIGH_WATER = 256 * 1024
# Read of an answer that is not wanted any more; a runner holds no more unsent bytes.
_MAX_REST = 4 * 1024 * 1024


class UpstreamError(Exception):
    """Base of the errors of a connection to a runner or a provider."""


class Refused(UpstreamError):
    """No connection: no socket, connection refused, or a timeout."""


class ClosedEarly(UpstreamError):
    """The peer closed before it sent a single byte of an answer."""


class Broken(UpstreamError):
    """The answer began and was cut."""


class Malformed(UpstreamError):
    """The bytes are not an HTTP answer that the gateway accepts."""


class Redirected(Malformed):
    """A redirect, which is never followed: its address was not checked."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time: `send`, `answered`, `read` until empty, then `rest` or `abort`."""

    def __init__(self, address: str, on_lost: Callable[[Connection], None]) -> None:
        self.address = address
        self.idle_since = 0.0
        # Of a provider: a body may be compressed, and may end where its connection ends. Its content shows a cut.
        self.is_lenient = False
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        # Straight into the list: one read can hold hundreds of small chunks. Set before the parser reads it.
        self.on_body = self._chunks.append
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        # The `Content-Encoding` of a body that cannot be read.
        self.unreadable = ""
        self._decoder: Decoder | None = None
        self._ends_with_connection = False
        self._chunks.clear()
        self._unread = 0
        self._overhead = 0
        self._has_head = False
        self._keep_alive = False
        self._received = False
        self._error: UpstreamError | None = None

    # Called by the gateway

    def send(self, data: bytes) -> None:
        """Starts an exchange with the bytes of a whole request."""
        self._reset()
        self._busy = True
        if self._transport.is_closing():
            self._error = ClosedEarly("closed")
        else:
            self._transport.write(data)

    async def answered(self) -> None:
        """Waits for status and headers. Raises ClosedEarly, Broken or Malformed."""
        while not self._has_head:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter

    async def read(self) -> bytes:
        """The part of the body that has arrived, at least one byte; empty at its end."""
        if self._decoder is not None:
            return await self._read_decoded(self._decoder)
        await self._arrived()
        return self.take()

    async def _arrived(self) -> None:
        """Waits for a part of the body, or its end."""
        while not (self._chunks or self.complete):
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter

    async def _read_decoded(self, decoder: Decoder) -> bytes:
        try:
            while not (data := decoder.take()):
                await self._arrived()
                if not self._chunks:
                    if not decoder.is_whole:
                        raise Broken("cut")
                    return b""
                decoder.feed(self.take())
        except UndecodableBody as error:
            raise Malformed(str(error)) from None
        # A small piece can expand to many: other requests go on between them.
        await asyncio.sleep(0)
        return data

    async def begun(self) -> None:
        """Waits for the first byte of the body, or its end. Raises Broken or Malformed."""
        data = await self.read()
        if data:
            self.unread(data)

    def take(self) -> bytes:
        """The part of the body that has arrived, without waiting."""
        chunks = self._chunks
        data = b"".join(chunks)
        chunks.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def read_whole(self, limit: int) -> bytes:
        """The body to its end, or its beginning when it is longer than `limit` bytes (see `complete`)."""
        data = await self.read()
        if self.complete:
            return data
        parts = [data]
        size = len(data)
        while size <= limit and (data := await self.read()):
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    async def leave(self, seconds: float, *, announce: bool) -> bytes:
        """Ends an exchange whose answer is not wanted any more; returns what still arrives in so many seconds.

        `announce` closes the sending half, where the transport can: a runner then stops, and sends the usage so far.
        """
        self._keep_alive = False
        if self.complete or self._error is not None or self._transport.is_closing():
            return self.take() if self._decoder is None else b""
        parts: list[bytes] = []
        size = 0
        try:
            if announce and self._transport.can_write_eof():
                self._transport.write_eof()
            async with clocks.timeout(seconds):
                await self.answered()
                while size < _MAX_REST and (data := await self.read()):
                    parts.append(data)
                    size += len(data)
        except (TimeoutError, UpstreamError, OSError, RuntimeError):
            # It does not answer any more, or the connection was closed meanwhile.
            pass
        return b"".join(parts)

    def unread(self, data: bytes) -> None:
        """Puts data back to the front of the buffer."""
        if self._decoder is not None:
            self._decoder.unread(data)
        else:
            self._chunks.insert(0, data)

    def is_reusable(self) -> bool:
        return self.complete and self._keep_alive and not self._error and not self._transport.is_closing()

    def rest(self, now: float) -> None:
        """The exchange is over and the connection goes back to the pool."""
        self._busy = False
        self.idle_since = now

    def abort(self) -> None:
        """Closes at once and discards the send buffer. A runner stops generating when its connection closes."""
        self._busy = False
        self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # No request is in flight: these bytes must not become the next request's answer.
            self._transport.abort()
            return
        self._received = True
        size = len(data)
        self._unread += size
        had = len(self._chunks)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # An error of our callbacks is the context of the parser's own error.
            cause = error.__context__
            self._fail(cause if isinstance(cause, UpstreamError) else Malformed(str(error)))
            return
        self._overhead = 0 if len(self._chunks) > had else self._overhead + size
        if self._overhead > _MAX_OVERHEAD and not self.complete:
            self._fail(Malformed("its headers are too large"))
            return
        if self._unread > _HIGH_WATER and not self._paused and not self.complete:
            self._paused = True
            self._transport.pause_reading()
        if self._has_head:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)
        if self._busy and not self.complete and self._error is None:
            if self._ends_with_connection and exc is None:
                self.complete = True
            else:
                self._error = Broken("cut") if self._received else ClosedEarly("closed")
        self._wake()

    # Called by the parser

    def on_message_begin(self) -> None:
        if self.complete:
            raise Malformed("it sent more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer, which is ignored
        if len(self.headers) >= _MAX_HEADERS:
            raise Malformed("it sent too many headers")
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = {}
            return
        if 300 <= status < 400:
            raise Redirected(f"it answered with the redirect {status}")
        if not 200 <= status < 600:
            raise Malformed(f"it answered with status {status}")
        has_end = status == 204 or self.headers.keys() & {b"content-length", b"transfer-encoding"}
        if not has_end:
            # Its end cannot be distinguished from a cut, unless by its content.
            if not self.is_lenient:
                raise Malformed("it gave its answer no length")
            self._ends_with_connection = True
        if self.is_lenient and b"content-encoding" in self.headers:
            self._decode()
        self.status = status
        self._has_head = True
        self._keep_alive = self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.complete = self._has_head

    # Internal

    def _decode(self) -> None:
        encoding = self.headers.pop(b"content-encoding").decode("latin-1")
        try:
            self._decoder = decoder_of(encoding)
        except LookupError:
            self.unreadable = encoding[:40]
        if self._decoder is not None:
            self.headers.pop(b"content-length", None)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():  # it can be cancelled already
                waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        if not self.complete:
            self._error = error
        self._keep_alive = False
        self._transport.abort()
        self._wake()
