"""Looks into a running server's database, read-only."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.journeys.server import NoaServer
from tests.waiting import until


def query(server: NoaServer, sql: str) -> list[tuple[object, ...]]:
    path = server.data_dir / "noa.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(sql).fetchall()


def count_access_rows(server: NoaServer, *, at_least: int = 0) -> int:
    """Rows of the access log, once there are as many as expected: they are written in batches."""

    def count() -> int:
        return int(str(query(server, "SELECT count(*) FROM models_app_accesslog")[0][0]))

    until(lambda: count() >= at_least, f"the access log had {at_least} rows")
    return count()
