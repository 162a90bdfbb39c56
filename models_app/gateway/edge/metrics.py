"""`/metrics` for Prometheus, in front of Django: while the database hangs, it serves the last page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import orjson

from models_app.domain.errors import NoaError
from models_app.domain.scopes import Scope as KeyScope
from models_app.domain.traffic.routing import KeyEntry
from models_app.gateway.edge.readiness import is_on_this_machine, send_plain
from models_app.gateway.http import auth, errors, request_body
from models_app.gateway.http.single_flight import SingleFlight
from models_app.gateway.http.types import Receive, Scope, Send

PATH = "/metrics"
_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# Prometheus gives up after 10 seconds by default.
_LIMIT_SECONDS = 2.0
# How long a page is cached: a flood of scrapes must not cause a flood of queries.
_CACHE_SECONDS = 1.0


class MetricsPage:
    """ASGI callable. Open to this machine; others need a key with the scope `metrics:read`.

    `page` builds the text; it can block, and runs on one thread at a time.
    """

    def __init__(self, page: Callable[[], bytes], keys: Callable[[], Mapping[str, KeyEntry]]) -> None:
        self._keys = keys
        self._page = SingleFlight("metrics", page, initial=b"", failure=lambda error: b"")

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
        try:
            return await self._page.result(timeout=_LIMIT_SECONDS, cache=_CACHE_SECONDS)
        except TimeoutError:
            return self._page.last
