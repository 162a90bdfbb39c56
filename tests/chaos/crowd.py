"""Sends many requests at once from one thread, and returns how each ended."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.journeys.server import NoaServer

_TIMEOUT = 120.0


@dataclass(frozen=True)
class Ended:
    """`first_byte` and `seconds` since the request was sent; `whole` is False for a stream without its last event."""

    status: int
    code: str
    retry_after: str
    asked_at: float
    first_byte: float
    seconds: float
    whole: bool


def ask(server: NoaServer, bodies: list[dict[str, Any]], *, headers: dict[str, str] | None = None) -> list[Ended]:
    """All of them at once, each on its own connection."""

    async def all_of_them() -> list[Ended]:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            return await asyncio.gather(*(_request(session, server, body, headers or {}) for body in bodies))

    return asyncio.run(all_of_them())


async def _request(
    session: aiohttp.ClientSession,
    server: NoaServer,
    body: dict[str, Any],
    headers: dict[str, str],
) -> Ended:
    asked_at = time.monotonic()
    async with session.post(
        f"{server.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {server.api_key}"} | headers,
        timeout=aiohttp.ClientTimeout(_TIMEOUT),
    ) as answer:
        first = await answer.content.readany()
        first_byte = time.monotonic() - asked_at
        rest = await answer.content.read()
        text = first + rest
        code = ""
        if answer.status >= 400:
            code = json.loads(text)["error"]["code"]
        return Ended(
            answer.status,
            code,
            answer.headers.get("Retry-After", ""),
            asked_at,
            first_byte,
            time.monotonic() - asked_at,
            not body.get("stream") or text.rstrip().endswith(b"data: [DONE]"),
        )
