"""Sends requests to runners on other machines, through the runner proxies of their nodes."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from models_app import clocks
from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.nodes import TLS_NAME, NodeAddress
from models_app.domain.traffic.routing import Target
from models_app.engines.trust import NodeTrust
from models_app.gateway.upstream.connection import Connection, Refused
from models_app.gateway.upstream.upstream import Upstream, Witness

logger = logging.getLogger(__name__)

# Nodes are in one network: one that has not accepted by then is unreachable, and another copy is tried.
_CONNECT_SECONDS = 2.0
# A disconnected node sends no reset. Data must be acknowledged within this time, in milliseconds …
_UNACKNOWLEDGED_MS = 5000
# … and an idle connection is probed: seconds before the first probe, number of probes, seconds between two.
_KEEPALIVE = (5, 3, 2)


class Nodes:
    """Shared by all requests of a process."""

    def __init__(self, trust: NodeTrust) -> None:
        self._trust = trust
        # Created at the first use: most installations have only one machine.
        self._tls: ssl.SSLContext | None = None
        credentials = trust.authorization
        self._authorization = f"\r\nAuthorization: {credentials}".encode() if credentials else b""

    async def send(self, upstream: Upstream, target: Target, request: bytes, witness: Witness) -> Connection:
        """As `Upstream.send`, for a request in the form for the runner itself; raises the same errors."""
        connection = await upstream.send(
            target.address,
            self._addressed(target, request),
            lambda factory: self._connect(target, factory),
            witness,
        )
        if connection.status != 401:
            return connection
        connection.abort()
        logger.error("the node '%s' refuses this server: NOA_NODE_SECRET differs", target.node)
        raise Refused("its node does not accept this server's secret")

    def _addressed(self, target: Target, request: bytes) -> bytes:
        """`POST /v1/…` as `POST /runners/<instance>/v1/…`, with the node's credentials."""
        end = request.index(b"\r\n")
        line = b"POST /runners/%b%b%b" % (
            target.instance_id.encode("ascii"),
            request[len(b"POST ") : end],
            self._authorization,
        )
        return b"".join((line, memoryview(request)[end:]))

    async def _connect(self, target: Target, factory: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            address = NodeAddress.parse(target.address)
            async with clocks.timeout(_CONNECT_SECONDS):
                link = await _reach(address)
                _, connection = await loop.create_connection(
                    factory,
                    sock=link,
                    ssl=self._context() if address.is_tls else None,
                    server_hostname=TLS_NAME if address.is_tls else None,
                )
        except (OSError, InvalidRequest) as error:
            raise Refused(f"node '{target.node}': {error or 'it does not accept connections'}") from error
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._trust.client_context()
        return self._tls


async def _reach(address: NodeAddress) -> socket.socket:
    """A connected socket that detects an unreachable peer. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, where = found[0]
    link = socket.socket(family, kind, protocol)
    try:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle, count, interval = _KEEPALIVE
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        await loop.sock_connect(link, where)
    except BaseException:
        link.close()
        raise
    return link
