"""Lets web processes of other machines reach this node's runners: an HTTP server on a thread of its own.

`POST /runners/<instance id>/v1/chat/completions` is sent on to that runner's socket, byte by byte, and so are the few
other paths of `models_app.domain.residency.nodes.FORWARDED`. A client that leaves ends its request at the runner. No more than
a few hundred KiB of an answer wait here for a client that reads slowly.
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

# A runner accepts at once; one that does not is hung, and its caller may know another.
_CONNECT_SECONDS = 5.0
# What a request may bring from a client to a runner, and an answer back; the rest is between two machines.
_TAKEN = ("Content-Type", "Content-Length", "Accept", "X-Request-ID")
_GIVEN = ("Content-Type", "Content-Length", "Retry-After", "Cache-Control")
# The runner takes no larger body, and says so itself.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_BACKLOG = 512
_STOP_SECONDS = 5.0
_REFUSALS_EVERY = 60.0

# The path of the socket of one of this node's runners; None for all that is not.
Find = Callable[[str], str | None]


class RunnerProxy:
    """From `start` to `stop`; `listener` is bound already. Both are called from any other thread."""

    def __init__(self, *, listener: socket.socket, find: Find, trust: NodeTrust) -> None:
        self._listener = listener
        self._find = find
        self._trust = trust
        self._tls = trust.server_context()
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._next_complaint = 0.0
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="noa-runner-proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Ends what runs at once: its runners end with this node too."""
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
        if not self._trust.takes(request.headers.get("Authorization", "")):
            self._complain(request)
            return _refusal(Unauthenticated("This node takes requests only with its secret."))
        path = request.match_info["path"]
        if FORWARDED.get(path) != request.method or request.query_string:
            return _refusal(NotFound("A node forwards requests to its runners, and nothing else."))
        where = self._find(request.match_info["instance"])
        if where is None:
            return _gone()
        try:
            return await self._forward(request, where, path)
        except aiohttp.ClientConnectorError:
            return _gone()
        except (aiohttp.ClientError, OSError) as error:
            # The runner ended. Whoever asked sees what it would have seen of the runner itself: a closed connection.
            logger.info("a runner's answer was cut: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _forward(self, request: web.Request, where: str, path: str) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _TAKEN if name in request.headers}
        async with self._session(where).request(
            request.method,
            f"http://runner/{path}",
            headers=headers,
            data=request.content if request.body_exists else None,
        ) as answer:
            given = {name: answer.headers[name] for name in _GIVEN if name in answer.headers}
            response = web.StreamResponse(status=answer.status, headers=given)
            if "Content-Length" not in given:
                response.enable_chunked_encoding()
            await response.prepare(request)
            async for data in answer.content.iter_any():
                # Waits while the client does not read: then nothing more is read from the runner.
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

    def _complain(self, request: web.Request) -> None:
        """Into the log, but not so often that strangers could fill it."""
        if monotonic() >= self._next_complaint:
            self._next_complaint = monotonic() + _REFUSALS_EVERY
            logger.warning("refused a request without the right secret from %s", request.remote)


def _gone() -> web.Response:
    """Nothing was computed: whoever asked may ask another instance."""
    return _refusal(Draining("This runner is not on this node any more. Ask another instance."))


def _refusal(error: Draining | NotFound | Unauthenticated) -> web.Response:
    return web.json_response(error.body(), status=error.http_status)
