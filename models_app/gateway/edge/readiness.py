"""`/livez` and `/readyz`: whether this process is alive, and whether it is ready.

Answered in front of Django, from separate threads, so that they answer while Django or the database hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from models_app.domain.errors import InvalidRequest, NoaError, PermissionDenied, Unauthenticated
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.http import errors
from models_app.gateway.http.single_flight import SingleFlight
from models_app.gateway.http.types import Header, Receive, Scope, Send

LIVE_PATH, READY_PATH = "/livez", "/readyz"
# Shorter than the usual timeouts of container probes.
LIMIT_SECONDS = 2.0
# How long a result is cached: a flood of probes must not cause a flood of queries.
_CACHE_SECONDS = 1.0
_LIVE = b"ok\n"

# '' when ready, else the reason as a sentence. Can block: it runs on a separate thread.
Check = Callable[[], str]


class Part:
    """One requirement of readiness. At most one thread waits for a check that hangs."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = SingleFlight(f"ready-{name}", check, initial="", failure=_failure)

    async def problem(self) -> str:
        """'' or a sentence, within LIMIT_SECONDS."""
        try:
            return await self._check.result(timeout=LIMIT_SECONDS, cache=_CACHE_SECONDS)
        except TimeoutError:
            return f"It did not answer within {LIMIT_SECONDS:g} seconds."


def _failure(error: Exception) -> str:
    return f"The check failed: {type(error).__name__}."


class Probes:
    """ASGI callable for the two paths. Only requests from this machine, or with a key, get the reasons."""

    def __init__(self, checks: Mapping[str, Check], doorway: Doorway) -> None:
        self._parts = [Part(name, check) for name, check in checks.items()]
        self._doorway = doorway
        # Set when the shutdown begins: load balancers should stop sending requests before this process does.
        self.closing = False

    @staticmethod
    def answers(scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in (LIVE_PATH, READY_PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] != LIVE_PATH:
                self._doorway.check_address(scope)
            check_is_read(scope)
        except NoaError as error:
            await send_error(send, error)
            return
        if scope["path"] == LIVE_PATH:
            await send_plain(send, 200, _LIVE, b"text/plain")
            return
        ready, body = await self._readiness()
        if not self._may_see_reasons(scope):
            body = {"ready": ready}
        await send_plain(send, 200 if ready else 503, orjson.dumps(body), b"application/json")

    async def _readiness(self) -> tuple[bool, dict[str, Any]]:
        if self.closing:
            return False, {"ready": False, "why": "The server is stopping."}
        problems = await asyncio.gather(*(part.problem() for part in self._parts))
        ready = not any(problems)
        parts = {
            part.name: {"ok": not problem, "why": problem} for part, problem in zip(self._parts, problems, strict=True)
        }
        return ready, {"ready": ready, "parts": parts}

    def _may_see_reasons(self, scope: Scope) -> bool:
        try:
            self._doorway.check_host(scope)
            if not self._doorway.is_open_to(scope):
                self._doorway.key(scope)
        except (InvalidRequest, PermissionDenied, Unauthenticated):
            return False
        return True


async def send_plain(send: Send, status: int, body: bytes, kind: bytes, more: list[Header] | None = None) -> None:
    """Sends a whole answer that must not be cached."""
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *(more or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check_is_read(scope: Scope) -> None:
    """Raises NotAllowed for a method other than GET and HEAD."""
    if scope["method"] not in ("GET", "HEAD"):
        raise errors.NotAllowed(f"{scope['path']} can only be read. Use one of: GET, HEAD.", allow="GET, HEAD")


async def send_error(send: Send, error: NoaError) -> None:
    more = errors.headers(error)[1:]
    await send_plain(send, error.http_status, orjson.dumps(error.body()), b"application/json", more)
