"""The HTTP connections of a node's runner proxy: aiohttp's, with deadlines for what a client sends."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from models_app.clocks import Timer
from models_app.domain.errors import InvalidRequest
from models_app.engines.accepting import AcceptedProtocol
from models_app.engines.connections import Connections


class DoorProtocol(RequestHandler, AcceptedProtocol):
    """A connection whose heads and bodies must arrive in time. Times are seconds; the TLS handshake has its own.

    The application sets `is_proven` once a request was authenticated.
    """

    head_seconds: ClassVar[float] = 10.0
    body_seconds: ClassVar[float] = 60.0

    def __init__(self, manager: web.Server, connections: Connections, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(manager, loop=loop, **options)
        self.is_proven = False
        self._register = connections
        self._own_loop = loop
        self._overdue: Timer | None = None
        # The connection itself: aiohttp forgets its transport as soon as it has begun to close it.
        self._line: asyncio.BaseTransport | None = None

    @property
    def end_order(self) -> int | None:
        """Connections without the right secret end first, then those without a request."""
        if not self.is_proven:
            return 0
        return None if self._request_in_progress else 1

    def end(self) -> None:
        if isinstance(self._line, asyncio.Transport):
            self._line.abort()
        else:
            self.abandon()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = transport
        super().connection_made(transport)
        self._allow(self.head_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        self._register.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._register.active(self)
        seen = self._request_count
        super().data_received(data)
        if self._request_count > seen:
            self._disarm()
            self._wait_for_body()
        elif self._overdue is None and not self._request_in_progress and not self._messages:
            self._allow(self.head_seconds)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A malformed request is answered without a traceback in the log, which any client could fill."""
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        error = InvalidRequest("This is not a valid HTTP request.", code="invalid_http")
        response = web.json_response(error.body(), status=status)
        response.force_close()
        return response

    def _wait_for_body(self) -> None:
        body = self._messages[-1][1]
        if not body.is_eof():
            self._allow(self.body_seconds)
            body.on_eof(self._disarm)

    def _allow(self, seconds: float) -> None:
        self._overdue = Timer(self._own_loop, seconds, self.end)

    def _disarm(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
