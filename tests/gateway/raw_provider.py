"""A provider that sends exactly the given bytes, and ends connections by a script, as no HTTP library would."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

DEADLINE = 10.0
# SO_LINGER with 0 seconds: close() sends a reset instead of FIN.
_RESET = struct.pack("ii", 1, 0)


class Then(Enum):
    """What follows the bytes before it."""

    CLOSE = "close"
    RESET = "reset"


# Bytes, an event to wait for, or the end of the connection.
Step = bytes | threading.Event | Then


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join((f"HTTP/{version} {status}", *lines)).encode("latin-1") + b"\r\n\r\n"


def answer(body: bytes, *lines: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole answer on a connection that is kept."""
    return head(f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, status=status) + body


def stream(body: bytes, *lines: str) -> bytes:
    """A stream of events in one chunk, on a connection that is kept."""
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head("Content-Type: text/event-stream", "Transfer-Encoding: chunked", *lines) + chunk


class RawProvider:
    """`script(number, on_connection)` returns the steps of the answer to a request; both count from 0."""

    def __init__(self, script: Callable[[int, int], Iterable[Step]]) -> None:
        self.script = script
        self.key = "sk-raw"
        self.bodies: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def close(self) -> None:
        for connection in (self._listener, *self._connections):
            # A thread that waits in accept or recv wakes up.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for on_connection, body in enumerate(_requests(connection)):
                with self._lock:
                    number = len(self.bodies)
                    self.bodies.append(body)
                for step in self.script(number, on_connection):
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    elif isinstance(step, threading.Event):
                        step.wait(DEADLINE)
                    else:
                        if step is Then.RESET:
                            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        return


def _requests(connection: socket.socket) -> Iterator[bytes]:
    """The body of each request."""
    reader = connection.makefile("rb")
    while reader.readline():
        length = 0
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        yield reader.read(length)
