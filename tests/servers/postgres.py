"""A temporary PostgreSQL cluster, from Debian's binaries."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic, sleep

import psycopg

from tests.servers.base import START_SECONDS, OwnServer

_VERSIONS = Path("/usr/lib/postgresql")


def binaries() -> Path:
    """The folder of the newest installed version's programs."""
    found = sorted((path for path in _VERSIONS.glob("*/bin/postgres")), key=lambda p: int(p.parent.parent.name))
    if not found:
        raise RuntimeError("There is no PostgreSQL under /usr/lib/postgresql. Install Debian's package 'postgresql'.")
    return found[-1].parent


class PostgresServer(OwnServer):
    """Trusts all clients on loopback; not durable against a power cut. `max_connections` as PostgreSQL counts them."""

    name = "postgres"
    # "Fast": connections are closed, no crash recovery at the next start.
    stop_signal = signal.SIGINT
    users = ("postgres", "nobody")

    def __init__(self, *, max_connections: int = 100, network: str = "", host: str = "127.0.0.1") -> None:
        """`network`, such as `10.0.0.0/24`, is trusted too, and reaches it at `host`."""
        super().__init__()
        self._network, self._host = network, host
        self._max_connections = max_connections
        self._bin = binaries()

    def prepare(self) -> None:
        self.run(
            str(self._bin / "initdb"),
            "--pgdata",
            str(self.folder / "data"),
            "--username",
            "noa",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        if self._network:
            with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._network} trust\n")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": ",".join(dict.fromkeys(("127.0.0.1", self._host))),
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": self._max_connections,
            # A commit outlives a crash of PostgreSQL, not one of the machine.
            "fsync": "off",
            "full_page_writes": "off",
            # As little memory as possible: several of them can run on one small machine.
            "shared_buffers": "32MB",
            "max_wal_size": "256MB",
            "autovacuum_naptime": "10min",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://noa@{self._host}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """The URL of a new, empty database."""
        self.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows that a statement returns, on a new connection."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def wait_until_ready(self) -> None:
        deadline = monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                if monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL did not start:\n{self.output()}") from None
                sleep(0.02)
