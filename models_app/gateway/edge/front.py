"""The checks in front of Django, which reads a whole body before it resolves the path: host, size, key or session."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

from models_app.domain.errors import NoaError, RequestTooLarge, Unauthenticated
from models_app.domain.records.access import AccessRecord
from models_app.gateway.calls.call import Call
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.http import request_body
from models_app.gateway.http.bodies import ANONYMOUS, ANONYMOUS_BODY_BYTES, Bodies, Body
from models_app.gateway.http.types import ASGIApp, Message, Receive, Scope, Send, prove

# From a Cookie header to the owner of its valid session; '' without one.
Sessions = Callable[[bytes], Awaitable[str]]


class Front:
    """ASGI wrapper. `app` receives no body that is too large, and only a small one without a valid key or session.

    Refusals are JSON: 400 for the host, 401, 413, and 503 while the bodies in progress take all of `bodies`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, bodies: Bodies, doorway: Doorway, sessions: Sessions) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._bodies = bodies
        self._doorway = doorway
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Body(self._bodies)
        try:
            self._doorway.check_host(scope)
            body.owner = self._doorway.known_owner(scope)
            length = _announced_length(scope)
            if length is None:
                await self._count(scope, receive, send, body)
                return
            if length:
                await self._admit(scope, body, length)
            await self._app(scope, receive, send)
        except NoaError as error:
            await _refuse(scope, receive, send, error)
        finally:
            body.free()

    async def _admit(self, scope: Scope, body: Body, size: int) -> None:
        """Takes `size` bytes for the body. Raises the reason for which it cannot be that large."""
        if size > self._max_bytes:
            raise request_body.too_large(self._max_bytes)
        if size > ANONYMOUS_BODY_BYTES and body.owner == ANONYMOUS:
            body.hand_to(await self._owner(scope))
        body.grow_to(size)

    async def _owner(self, scope: Scope) -> str:
        """The key or the session of the request. Raises Unauthenticated or RequestTooLarge without a valid one."""
        headers = dict(scope["headers"])
        owner = ANONYMOUS
        if b"authorization" in headers:
            owner = (await self._doorway.newest_key(scope)).key_id
        elif b"cookie" in headers:
            owner = await self._sessions(headers[b"cookie"])
        if owner:
            prove(scope)
            return owner
        size = f"{ANONYMOUS_BODY_BYTES // 1024} KiB"
        if scope["path"].startswith("/api/"):
            raise Unauthenticated(
                f"A body of more than {size} needs an API key. Send it in the header 'Authorization: Bearer <key>'.",
                code="missing_api_key",
            )
        raise RequestTooLarge(f"Without signing in, a request body can have at most {size}. Sign in first.")

    async def _count(self, scope: Scope, receive: Receive, send: Send, body: Body) -> None:
        """A body without a content-length: as soon as it is refused, the application receives a disconnect."""
        size = 0
        refusal: NoaError | None = None
        started = False

        async def counted() -> Message:
            nonlocal size, refusal
            if refusal is not None:
                return {"type": "http.disconnect"}
            message = await receive()
            if found := len(message.get("body", b"")):
                size += found
                try:
                    await self._admit(scope, body, size)
                except NoaError as error:
                    refusal = error
                    return {"type": "http.disconnect"}
            return message

        async def counted_send(message: Message) -> None:
            nonlocal started
            if refusal is None or started:
                started = True
                await send(message)

        await self._app(scope, counted, counted_send)
        if refusal is not None and not started:
            raise refusal


def _announced_length(scope: Scope) -> int | None:
    """The length of the body in bytes; None for one that is sent in chunks."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            return None
    return length


async def _refuse(scope: Scope, receive: Receive, send: Send, error: NoaError) -> None:
    headers = request_body.pick(scope["headers"])
    request_id = request_body.valid_request_id(headers.get(b"x-request-id")) or secrets.token_hex(16)
    task = asyncio.current_task()
    assert task is not None
    await Call(receive, send, AccessRecord(request_id, time.time(), ""), task).fail(error)
