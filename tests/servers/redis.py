"""A temporary Redis."""

from __future__ import annotations

import shutil
import socket
from time import monotonic, sleep

from tests.servers.base import START_SECONDS, OwnServer


class RedisServer(OwnServer):
    """Loopback only. With `durable` its data survives a restart, as a broker's in production should."""

    name = "redis"
    users = ("redis", "nobody")

    def __init__(self, *, durable: bool = False, host: str = "127.0.0.1") -> None:
        """It is also reachable at `host`."""
        super().__init__()
        self._host = host
        self._durable = durable

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("There is no redis-server. Install Debian's package 'redis-server'.")
        return [
            program,
            "--bind",
            *dict.fromkeys(("127.0.0.1", self._host)),
            "--protected-mode",
            "no",
            "--port",
            str(self.port),
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "yes" if self._durable else "no",
            "--daemonize",
            "no",
        ]

    def url(self, database: int = 0) -> str:
        return f"redis://{self._host}:{self.port}/{database}"

    def ask(self, *words: str) -> bytes:
        """The raw answer to one command, on a new connection."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request.encode())
            return connection.recv(65536)

    def wait_until_ready(self) -> None:
        deadline = monotonic() + START_SECONDS
        while True:
            try:
                if self.ask("PING") == b"+PONG\r\n":
                    return
            except OSError:
                pass
            if monotonic() > deadline:
                raise AssertionError(f"Redis did not start:\n{self.output()}")
            sleep(0.02)
