"""A TCP proxy that can be switched to misbehave while connections run through it.

In a test:

    with FaultProxy("127.0.0.1", 5432) as proxy:
        ...                                # connect to proxy.port: everything passes
        proxy.fault(Fault.BLACKHOLE)       # from now on bytes are dropped silently
        proxy.fault(Fault.PASS)            # held bytes are delivered, as after a network outage

`REFUSE` closes the listening socket and resets open connections; `RESET` resets open and later connections;
`BLACKHOLE` accepts connections and bytes and delivers none; `DELAY` delivers each piece `seconds` later; `CUT` resets a
connection once `after` bytes have come back from the server. `proxy.connections` counts accepted connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DEADLINE = 10.0
_PIECE = 64 * 1024
# SO_LINGER with 0 seconds: close() sends a reset instead of FIN.
_RESET = struct.pack("ii", 1, 0)


class Fault(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"
    RESET = "reset"
    BLACKHOLE = "blackhole"
    DELAY = "delay"
    CUT = "cut"


@dataclass(frozen=True)
class _Mode:
    fault: Fault = Fault.PASS
    seconds: float = 0.0
    after: int = 0


class FaultProxy:
    """Listens on `port` (chosen if 0) of 127.0.0.1, on its own thread, in front of `host`:`target_port`."""

    def __init__(self, host: str, target_port: int, *, port: int = 0) -> None:
        self.port = port
        self.connections = 0
        self._target = (host, target_port)
        self._mode = _Mode()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the proxy did not stop"
        self._loop.close()

    def fault(self, fault: Fault, *, seconds: float = 0.0, after: int = 0) -> None:
        """Set the fault, also for open connections. Returns once it applies."""
        self._await(self._switch(_Mode(fault, seconds, after)))

    # In the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _close(self) -> None:
        await self._unlisten()
        for link in list(self._links):
            link.reset()
        while self._links:
            await asyncio.sleep(0)

    async def _switch(self, mode: _Mode) -> None:
        self._mode = mode
        if mode.fault == Fault.REFUSE:
            await self._unlisten()
        else:
            await self._listen()
        for link in list(self._links):
            if mode.fault in (Fault.REFUSE, Fault.RESET):
                link.reset()
            else:
                link.follow(mode)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._mode.fault == Fault.RESET:
            _reset(writer)
            return
        try:
            onward = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        link = _Link((reader, writer), onward, self._mode)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection through the proxy."""

    def __init__(self, client: Side, server: Side, mode: _Mode) -> None:
        self._client, self._server = client, server
        self._mode = mode
        self._returned = 0
        self._open = asyncio.Event()
        self.follow(mode)

    def follow(self, mode: _Mode) -> None:
        self._mode = mode
        if mode.fault == Fault.BLACKHOLE:
            self._open.clear()
        else:
            self._open.set()

    def reset(self) -> None:
        self._open.set()
        for _, writer in (self._client, self._server):
            _reset(writer)

    async def run(self) -> None:
        pumps = [
            asyncio.create_task(self._pump(self._client[0], self._server[1], counted=False)),
            asyncio.create_task(self._pump(self._server[0], self._client[1], counted=True)),
        ]
        # An end of either side closes both: none of the protocols tested here uses half-closed connections.
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for _, writer in (self._client, self._server):
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                await self._open.wait()
                if self._mode.fault == Fault.DELAY:
                    await asyncio.sleep(self._mode.seconds)
                if counted and self._mode.fault == Fault.CUT:
                    piece = piece[: max(0, self._mode.after - self._returned)]
                writer.write(piece)
                await writer.drain()
                if counted:
                    self._returned += len(piece)
                    if self._mode.fault == Fault.CUT and self._returned >= self._mode.after:
                        self.reset()
                        return


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
