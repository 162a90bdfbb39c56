"""A transport that sends everything written in one iteration of the event loop together.

uvicorn writes the head and the body of an answer separately; uvloop makes a system call, and the kernel a packet, for
each write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# More than this is sent without waiting for the end of the iteration, so that back-pressure works.
_MAX_HELD = 64 * 1024


class BatchingTransport(asyncio.Transport):
    """Wraps the transport of an accepted connection. Has only the methods that uvicorn's protocol uses."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0
        self.abort: Callable[[], None] = transport.abort
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.pause_reading: Callable[[], None] = transport.pause_reading
        self.resume_reading: Callable[[], None] = transport.resume_reading

    def write(self, data: Any) -> None:
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MAX_HELD:
            self.flush()

    def write_through(self, data: bytes) -> None:
        """Sends the held data and `data` now: the last write of an answer."""
        self.flush()
        self._transport.write(data)

    def flush(self) -> None:
        held = self._held
        if held:
            data = b"".join(held)
            held.clear()
            self._size = 0
            # The client can have left since.
            if not self._transport.is_closing():
                self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
