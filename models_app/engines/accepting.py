"""Accepts connections while there is room for them, and no faster than they can be refused.

The event loop's own server accepts all that wait at once, and then has no descriptor left for anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from models_app.domain.errors import Unavailable
from models_app.engines.connections import Connections, TrustedProxies, origin

logger = logging.getLogger(__name__)

# Accepted in one iteration of the event loop: bounds the descriptors of connections that are still being closed.
_AT_ONCE = 16
_HANDSHAKE_SECONDS = 10.0
# Until the next attempt, if the system refuses a descriptor.
_PAUSE_SECONDS = 0.1
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class AcceptedProtocol(asyncio.Protocol, ABC):
    """A protocol that is also a `Connection`, and reports to `Connections` once it is connected.

    The application sets `is_proven` once a request on it had a valid key or session. `abandon` ends a connection that
    has no transport yet, because its TLS handshake is in progress.
    """

    is_proven: bool = False
    abandon: Callable[[], None]

    @property
    @abstractmethod
    def end_order(self) -> int | None: ...

    @abstractmethod
    def end(self) -> None: ...


Factory = Callable[[], AcceptedProtocol]


class TooManyConnections(Unavailable):
    """503: an address has as many connections as it can have, and all of them are in use."""

    default_code = "too_many_connections"


class Acceptor:
    """Serves one listening socket, like an `asyncio.Server`. `factory` makes the protocols, which report to
    `connections`. With `tls`, a handshake has `_HANDSHAKE_SECONDS`."""

    def __init__(
        self,
        listener: socket.socket,
        factory: Factory,
        connections: Connections,
        trusted: TrustedProxies,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._connections = connections
        self._trusted = trusted
        self._tls: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": _HANDSHAKE_SECONDS} if tls else {}
        self._loop = asyncio.get_running_loop()
        self._is_reading = False
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusal = _refusal(connections.per_address)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return () if self._is_closed else (self._listener,)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._is_reading

    def resume(self) -> None:
        """Accepts again, after there was no room."""
        if not self._is_reading and not self._is_closed:
            self._is_reading = True
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        if not self._is_closed:
            self._pause()
            self._is_closed = True
            self._listener.close()

    async def wait_closed(self) -> None:
        for task in list(self._tasks):
            await asyncio.wait([task])

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._connections.has_room():
                # Those that wait stay in the kernel's queue, and cost nothing here.
                self._pause()
                return
            try:
                client, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                logger.warning("no connection is accepted for a moment: %s", error.strerror)
                self._pause()
                self._loop.call_later(_PAUSE_SECONDS, self.resume)
                return
            self._welcome(client, address)

    def _welcome(self, client: socket.socket, address: object) -> None:
        client.setblocking(False)
        counted = origin(str(address[0]) if isinstance(address, tuple) else "", self._trusted)
        if not self._connections.admit(counted):
            _refuse(client, self._refusal)
            return
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = self._factory()
        protocol.abandon = partial(_shut, client)
        self._connections.add(protocol, counted)
        task = self._loop.create_task(self._open(client, protocol))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, client: socket.socket, protocol: AcceptedProtocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, client, **self._tls)
        except OSError:
            # The client left meanwhile, or its handshake failed: `ssl.SSLError` is an OSError, and so is a time-out.
            client.close()
            self._connections.closed(protocol)


def _refusal(per_address: int) -> bytes:
    error = TooManyConnections(
        f"This address has {per_address} connections, and all of them are in use. Use fewer, or have an administrator "
        "raise NOA_MAX_CONNECTIONS_PER_ADDRESS.",
        retry_after=1,
    )
    body = orjson.dumps(error.body())
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    ) + body


def _shut(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _refuse(client: socket.socket, answer: bytes) -> None:
    """Answers before the request was read, as far as the client takes it at once."""
    with client:
        try:
            client.send(answer)
            client.shutdown(socket.SHUT_WR)
            # Unread bytes would turn the end into a reset, which discards the answer.
            client.recv(65536)
        except OSError:
            return
