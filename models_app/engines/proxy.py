"""Makes this node's runners reachable for web processes of other machines: an HTTP server on its own thread.

`POST /runners/<instance id>/v1/chat/completions` is forwarded to that runner's socket byte by byte, and so are the
other paths of `models_app.domain.residency.nodes.FORWARDED`. A client's disconnect cancels its request at the runner.
At most a few hundred KiB of an answer are buffered for a slow client.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from time import monotonic

import aiohttp
from aiohttp import web

from models_app.domain.errors import Draining, NotFound, Unauthenticated
from models_app.domain.residency.nodes import FORWARDED
from models_app.engines.trust import NodeTrust

logger = logging.getLogger(__name__)

# A healthy runner accepts at once; the caller can retry on another instance.
_CONNECT_SECONDS = 5.0
# The end-to-end headers; all others are hop-by-hop.
_REQUEST_HEADERS = ("Content-Type", "Content-Length", "Accept", "X-Request-ID")
_RESPONSE_HEADERS = ("Content-Type", "Content-Length", "Retry-After", "Cache-Control")
# The runner's own limit is lower, with its own error.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_BACKLOG = 512
_STOP_SECONDS = 5.0
_REFUSALS_EVERY = 60.0

# Instance id -> path of the runner's socket; None for an unknown instance.
Find = Callable[[str], str | None]


class RunnerProxy:
    """Serves from `start` to `stop` on the bound `listener`. Both can be called from any other thread."""

    def __init__(self, *, listener: socket.socket, find: Find, trust: NodeTrust) -> None:
        self._listener = listener
        self._find = find
        self._trust = trust
        self._tls = trust.server_context()
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._next_refusal_log = 0.0
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="noa-runner-proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Abort requests in flight at once: the runners end with this node too."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/runners/{instance}/{path:.+}", self._answer)
        server = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.0)
        await server.setup()
        site = web.SockSite(server, self._listener, ssl_context=self._tls, backlog=_BACKLOG)
        await site.start()
        self._started.set()
        await self._stopping.wait()
        await server.cleanup()
        for session in self._sessions.values():
            await session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._trust.accepts(request.headers.get("Authorization", "")):
            self._log_refusal(request)
            return _refusal(Unauthenticated("This node requires its secret."))
        path = request.match_info["path"]
        if FORWARDED.get(path) != request.method or request.query_string:
            return _refusal(NotFound("A node only forwards requests to its runners."))
        where = self._find(request.match_info["instance"])
        if where is None:
            return _gone()
        try:
            return await self._forward(request, where, path)
        except aiohttp.ClientConnectorError:
            return _gone()
        except (aiohttp.ClientError, OSError) as error:
            # The runner exited. Close the connection, as the runner itself would have.
            logger.info("a runner's answer was aborted: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _forward(self, request: web.Request, where: str, path: str) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        async with self._session(where).request(
            request.method,
            f"http://runner/{path}",
            headers=headers,
            data=request.content if request.body_exists else None,
        ) as answer:
            response_headers = {name: answer.headers[name] for name in _RESPONSE_HEADERS if name in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=response_headers)
            if "Content-Length" not in response_headers:
                response.enable_chunked_encoding()
            await response.prepare(request)
            async for data in answer.content.iter_any():
                # Backpressure: waits while the client does not read, and reads nothing from the runner meanwhile.
                await response.write(data)
            await response.write_eof()
            return response

    def _session(self, where: str) -> aiohttp.ClientSession:
        session = self._sessions.get(where)
        if session is None:
            session = self._sessions[where] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(where, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return session

    def _log_refusal(self, request: web.Request) -> None:
        """Rate-limited, so that unauthenticated clients cannot fill the log."""
        if monotonic() >= self._next_refusal_log:
            self._next_refusal_log = monotonic() + _REFUSALS_EVERY
            logger.warning("refused a request without the right secret from %s", request.remote)


def _gone() -> web.Response:
    """Nothing was computed: the caller can retry on another instance."""
    return _refusal(Draining("This runner is no longer on this node. Use another instance."))


def _refusal(error: Draining | NotFound | Unauthenticated) -> web.Response:
    return web.json_response(error.body(), status=error.http_status)
