"""Queries a running server's database, read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.journeys.server import NoaServer
from tests.waiting import until


def query(server: NoaServer, sql: str) -> list[tuple[object, ...]]:
    path = server.data_dir / "noa.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(sql).fetchall()


def count_access_rows(server: NoaServer, request_id: str, *, at_least: int) -> int:
    """The number of rows with this X-Request-ID, once there are enough: they are written in batches."""
    sql = f"SELECT count(*) FROM models_app_accesslog WHERE client_request_id = '{request_id}'"

    def count() -> int:
        return int(str(query(server, sql)[0][0]))

    until(lambda: count() >= at_least, f"the access log had {at_least} rows of '{request_id}'")
    return count()
