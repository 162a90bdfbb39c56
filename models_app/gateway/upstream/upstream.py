"""The gateway's HTTP client: connection pools to runners and providers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from models_app import clocks
from models_app.gateway.http.request_body import Limits
from models_app.gateway.upstream.connection import ClosedEarly, Connection, Refused

# Opens a connection, with the factory of its protocol, or raises an UpstreamError.
Dial = Callable[[Callable[[], Connection]], Awaitable[Connection]]

# Idle connections per runner: several times the usual number of its slots.
_MAX_IDLE = 64
# Shorter than any peer's own idle timeout, so that few connections are found closed when they are needed.
_IDLE_SECONDS = 20.0


class Witness:
    """Follows one request. This one does nothing."""

    def sent(self) -> None:
        """The request is on its way to a server, which can begin to work."""

    async def left(self, connection: Connection) -> None:
        """The request was cancelled before its answer began; `connection` is closed afterwards."""


_UNWITNESSED = Witness()


class Upstream:
    """One pool per address: the path of a unix socket, `host:port`, or, with a `dial`, any name."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: dict[str, deque[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(
        self, address: str, request: bytes, dial: Dial | None = None, witness: Witness = _UNWITNESSED
    ) -> Connection:
        """Sends a whole request and waits for status and headers. The caller must `release` the connection.

        A pooled connection that the peer had closed in the meantime is replaced, invisibly to the caller.
        Raises Refused, ClosedEarly, Broken or Malformed.
        """
        idle = self._idle.get(address)
        lost: ClosedEarly | None = None
        if idle:
            try:
                return await _exchange(idle.pop(), request, witness)
            except ClosedEarly as error:
                lost = error
        if dial is None:
            return await _exchange(await self._connected(address, lost), request, witness)
        connection = await dial(lambda: Connection(address, self.forget))
        return await _exchange(connection, request, witness)

    def release(self, connection: Connection) -> None:
        """Returns the connection to the pool if its exchange is complete; closes it otherwise."""
        idle = self._idle.get(connection.address)
        if idle is None:
            idle = self._idle[connection.address] = deque()
        if self._is_closed or len(idle) >= _MAX_IDLE or not connection.is_reusable():
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.rest(loop.time())
        idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE_SECONDS, self._drop_stale)

    def forget(self, connection: Connection) -> None:
        """The connection was lost: removes it from the pool."""
        idle = self._idle.get(connection.address)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.address]

    def close(self) -> None:
        """Closes idle connections. The others close with their requests."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()

    async def _connected(self, address: str, lost: ClosedEarly | None) -> Connection:
        """A new connection. If the peer of the pooled one is gone, it died with the request in it: raises `lost`."""
        try:
            return await self._connect(address)
        except Refused:
            if lost is None:
                raise
        raise lost

    async def _connect(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with clocks.timeout(self._limits.connect_seconds):
                if "/" in address:
                    _, connection = await loop.create_unix_connection(lambda: Connection(address, self.forget), address)
                else:
                    host, _, port = address.rpartition(":")
                    _, connection = await loop.create_connection(
                        lambda: Connection(address, self.forget), host.strip("[]"), int(port)
                    )
        except OSError as error:  # TimeoutError is one too
            raise Refused(str(error)) from error
        return connection

    def _drop_stale(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - _IDLE_SECONDS
        for idle in self._idle.values():
            while idle and idle[0].idle_since <= oldest:
                idle.popleft().abort()
        self._idle = {address: idle for address, idle in self._idle.items() if idle}
        self._sweep = loop.call_later(_IDLE_SECONDS / 2, self._drop_stale) if self._idle else None


async def _exchange(connection: Connection, request: bytes, witness: Witness) -> Connection:
    connection.send(request)
    witness.sent()
    try:
        await connection.answered()
    except asyncio.CancelledError:
        await witness.left(connection)
        connection.abort()
        raise
    except BaseException:
        connection.abort()
        raise
    return connection
