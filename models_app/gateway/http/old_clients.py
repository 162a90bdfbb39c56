"""Answers to clients of HTTP/1.0."""

from __future__ import annotations

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from models_app.gateway.http.types import ASGIApp, Message, Receive, Scope, Send


def unchunked(app: Any, cycle: RequestResponseCycle) -> ASGIApp:
    """An answer without a length ends with its connection: HTTP/1.0 has no chunks, which uvicorn sends to all clients.

    `cycle` is the request's. Its connection closes after the answer in any case.
    """

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        has_length = True

        async def sending(message: Message) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                has_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
                if not has_length:
                    cycle.chunked_encoding = False
            elif not has_length:
                # uvicorn checks that the whole has the announced length.
                more = message.get("more_body", False)
                cycle.expected_content_length = sys.maxsize if more else len(message.get("body", b""))
            await send(message)

        await app(scope, receive, sending)

    return answered
