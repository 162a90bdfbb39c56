"""`/metrics` for Prometheus, in front of Django: while the database hangs, it serves the last page."""

from __future__ import annotations

from collections.abc import Callable

from models_app.domain.errors import NoaError
from models_app.domain.scopes import Scope as KeyScope
from models_app.gateway.edge.doorway import Doorway
from models_app.gateway.edge.readiness import check_is_read, send_error, send_plain
from models_app.gateway.http import auth
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

    def __init__(self, page: Callable[[], bytes], doorway: Doorway) -> None:
        self._doorway = doorway
        self._page = SingleFlight("metrics", page, initial=b"", failure=lambda error: b"")

    @staticmethod
    def answers(scope: Scope) -> bool:
        return bool(scope["type"] == "http" and scope["path"] == PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except NoaError as error:
            await send_error(send, error)
            return
        text = await self._text()
        await send_plain(send, 200 if text else 503, text, _TYPE)

    def _check(self, scope: Scope) -> None:
        self._doorway.check_address(scope)
        check_is_read(scope)
        if not self._doorway.is_open_to(scope):
            auth.require(self._doorway.key(scope), KeyScope.METRICS)

    async def _text(self) -> bytes:
        try:
            return await self._page.result(timeout=_LIMIT_SECONDS, cache=_CACHE_SECONDS)
        except TimeoutError:
            return self._page.last
