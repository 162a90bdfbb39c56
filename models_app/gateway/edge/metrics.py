"""`/metrics` for Prometheus, in front of Django: while the database hangs, it serves the last page."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import orjson

from models_app.domain.errors import NoaError
from models_app.domain.scopes import Scope as KeyScope
from models_app.domain.traffic.routing import KeyEntry
from models_app.gateway.edge.readiness import is_on_this_machine, send_plain
from models_app.gateway.http import auth, errors, request_body
from models_app.gateway.http.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

PATH = "/metrics"
_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# Prometheus gives up after 10 seconds by default.
_LIMIT_SECONDS = 2.0
# A page is cached for so long: a flood of scrapes must not become one of queries.
_CACHE_SECONDS = 1.0


class MetricsPage:
    """ASGI callable. Open to this machine; others need a key with the scope `metrics:read`.

    `page` builds the text; it can block, and runs on one thread at a time.
    """

    def __init__(self, page: Callable[[], bytes], keys: Callable[[], Mapping[str, KeyEntry]]) -> None:
        self._page = page
        self._keys = keys
        self._running: Future[bytes] | None = None
        self._known, self._known_at = b"", -_CACHE_SECONDS

    @staticmethod
    def answers(scope: Scope) -> bool:
        return bool(scope["type"] == "http" and scope["path"] == PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_plain(send, 405, b"", b"text/plain", [(b"allow", b"GET, HEAD")])
            return
        try:
            self._check(scope)
        except NoaError as error:
            body = orjson.dumps(error.body())
            await send_plain(send, error.http_status, body, b"application/json", errors.headers(error)[1:])
            return
        text = await self._text()
        await send_plain(send, 200 if text else 503, text, _TYPE)

    def _check(self, scope: Scope) -> None:
        if not is_on_this_machine(scope):
            picked = request_body.pick(scope["headers"])
            key = auth.authenticate(picked.get(b"authorization"), self._keys(), time.time())
            auth.require(key, KeyScope.METRICS)

    async def _text(self) -> bytes:
        if time.monotonic() - self._known_at < _CACHE_SECONDS:
            return self._known
        if self._running is None or self._running.done():
            self._running = self._begin()
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                found = await asyncio.shield(asyncio.wrap_future(self._running))
        except TimeoutError:
            return self._known
        self._known, self._known_at = found, time.monotonic()
        return found

    def _begin(self) -> Future[bytes]:
        found: Future[bytes] = Future()
        # Not of a pool: the process would wait for a pool's threads at its end, and this one can hang.
        threading.Thread(target=self._run, args=(found,), name="metrics", daemon=True).start()
        return found

    def _run(self, found: Future[bytes]) -> None:
        try:
            found.set_result(self._page())
        except Exception:
            logger.exception("The metrics page could not be built.")
            found.set_result(b"")
