"""A size limit for request bodies in front of Django, which reads any size before it resolves the path."""

from __future__ import annotations

import asyncio
import secrets
import time

from models_app.domain.errors import NoaError
from models_app.domain.records.access import AccessRecord
from models_app.gateway.calls.call import Call
from models_app.gateway.http import request_body
from models_app.gateway.http.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI wrapper: a body above `max_bytes` is answered with 413 and JSON; `app` never receives it whole."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if length is None:
            await self._count(scope, receive, send)
        elif int(length) > self._max_bytes:
            await _refuse(scope, receive, send, request_body.too_large(self._max_bytes))
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body without a content-length: above the limit the application receives a disconnect."""
        size = 0
        started = False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return {"type": "http.disconnect"} if size > self._max_bytes else message

        async def counted_send(message: Message) -> None:
            nonlocal started
            if size <= self._max_bytes or started:
                started = True
                await send(message)

        await self._app(scope, counted, counted_send)
        if size > self._max_bytes and not started:
            await _refuse(scope, receive, send, request_body.too_large(self._max_bytes))


async def _refuse(scope: Scope, receive: Receive, send: Send, error: NoaError) -> None:
    headers = request_body.pick(scope["headers"])
    request_id = request_body.valid_request_id(headers.get(b"x-request-id")) or secrets.token_hex(16)
    task = asyncio.current_task()
    assert task is not None
    await Call(receive, send, AccessRecord(request_id, time.time(), ""), task).fail(error)
