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
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import cast

import aiohttp
from aiohttp import web

from models_app.domain.errors import Draining, InvalidRequest, NoaError, NotFound, RequestTooLarge, Unauthenticated
from models_app.domain.residency.nodes import FORWARDED
from models_app.engines import descriptors
from models_app.engines.accepting import Acceptor
from models_app.engines.connections import Connections, TrustedProxies
from models_app.engines.door import DoorProtocol
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


@dataclass(slots=True)
class _Link:
    """The connections to one runner."""

    session: aiohttp.ClientSession
    requests: int = 0


class RunnerProxy:
    """Serves from `start` to `stop` on the bound `listener`. Both can be called from any other thread."""

    def __init__(self, *, listener: socket.socket, find: Find, trust: NodeTrust) -> None:
        self._listener = listener
        self._find = find
        self._trust = trust
        self._tls = trust.server_context()
        self._links: dict[str, _Link] = {}
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
        application.router.add_route("*", "/{path:.*}", self._answer)
        application.on_response_prepare.append(_close_unproven)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.0)
        await runner.setup()
        assert runner.server is not None
        # Web machines are few, and have many connections each: no limit for one address.
        total = descriptors.connections(descriptors.limit())
        connections = Connections(total=total, per_address=total)
        make = partial(DoorProtocol, runner.server, connections, access_log=None, auto_decompress=False)
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        acceptor = Acceptor(self._listener, make, connections, TrustedProxies(()), self._tls)
        connections.on_room = acceptor.resume
        acceptor.resume()
        self._started.set()
        await self._stopping.wait()
        acceptor.close()
        await runner.cleanup()
        for link in self._links.values():
            await link.session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._trust.accepts(request.headers.get("Authorization", "")):
            self._log_refusal(request)
            return _refusal(Unauthenticated("This node requires its secret."))
        cast(DoorProtocol, request.protocol).is_proven = True
        path = request.match_info["path"]
        instance = request.match_info.get("instance")
        if instance is None or FORWARDED.get(path) != request.method or request.query_string:
            return _refusal(NotFound("A node only forwards requests to its runners."))
        if request.headers.getall("Transfer-Encoding", ["chunked"]) != ["chunked"]:
            # The parser takes `gzip, chunked` for `chunked`.
            return _refusal(InvalidRequest("The only accepted Transfer-Encoding is 'chunked'."))
        if (request.content_length or 0) > _MAX_BODY_BYTES:
            return _refusal(RequestTooLarge(f"The body is larger than {_MAX_BODY_BYTES // 1024**2} MiB. Send less."))
        where = self._find(instance)
        if where is None:
            return _gone()
        try:
            return await self._forward(request, instance, where, path)
        except aiohttp.ClientConnectorError:
            return _gone()
        except (aiohttp.ClientError, OSError) as error:
            # The runner exited. Close the connection, as the runner itself would have.
            logger.info("a runner's answer was aborted: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _forward(self, request: web.Request, instance: str, where: str, path: str) -> web.StreamResponse:
        link = await self._link(instance, where)
        link.requests += 1
        try:
            return await self._pass_on(request, link.session, path)
        finally:
            link.requests -= 1

    async def _pass_on(self, request: web.Request, session: aiohttp.ClientSession, path: str) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        async with session.request(
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

    async def _link(self, instance: str, where: str) -> _Link:
        link = self._links.get(instance)
        if link is None:
            await self._drop_gone()
            # Another request can have made it meanwhile.
            link = self._links.get(instance) or _Link(_session(where))
            self._links[instance] = link
        return link

    async def _drop_gone(self) -> None:
        """Closes the sessions of runners that are not on this node any more."""
        for instance, link in list(self._links.items()):
            if not link.requests and self._find(instance) is None and self._links.pop(instance, None) is not None:
                await link.session.close()

    def _log_refusal(self, request: web.Request) -> None:
        """Rate-limited, so that unauthenticated clients cannot fill the log."""
        if monotonic() >= self._next_refusal_log:
            self._next_refusal_log = monotonic() + _REFUSALS_EVERY
            logger.warning("refused a request without the right secret from %s", request.remote)


def _session(where: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(where, limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def _gone() -> web.Response:
    """Nothing was computed: the caller can retry on another instance."""
    return _refusal(Draining("This runner is no longer on this node. Use another instance."))


def _refusal(error: NoaError) -> web.Response:
    response = web.json_response(error.body(), status=error.http_status)
    if isinstance(error, (InvalidRequest, RequestTooLarge)):
        # The end of its body is unknown, or too far away.
        response.force_close()
    return response


async def _close_unproven(request: web.Request, response: web.StreamResponse) -> None:
    """A client without the secret keeps no connection."""
    if not cast(DoorProtocol, request.protocol).is_proven:
        response.force_close()
