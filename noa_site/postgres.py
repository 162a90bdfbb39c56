"""How NOA speaks to PostgreSQL: with a pool, and never waiting without end for a server that hangs."""

from __future__ import annotations

from typing import Any, ClassVar

import dj_database_url
import psycopg
from psycopg import errors

# Connecting, keeping and being without a connection, in seconds. TCP alone would wait for hours.
_CONNECT_SECONDS = 5
_POOL_SECONDS = 5.0
_IDLE_SECONDS = 60.0
# A statement ends itself first, if the server is able to say so.
_SERVER_MARGIN_SECONDS = 2.0


class BoundedConnection(psycopg.Connection[Any]):
    """Gives a statement up whose answer takes too long. What a stopped server cannot do is to tell of a time-out."""

    # None: as long as it takes, for migrations.
    patience: float | None = None
    # What new connections have.
    default_patience: ClassVar[float | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = self.default_patience

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") is not None or self.patience is None:
            return super().wait(gen, *args, **kwargs)
        kwargs["timeout"] = self.patience
        try:
            return super().wait(gen, *args, **kwargs)
        except errors._WaitTimeout:
            # In the middle of a statement: nothing else can be asked on it.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"PostgreSQL did not answer within {self.patience:g} s") from None


def settings(url: str, *, seconds: float, connections: int) -> dict[str, Any]:
    """Django's settings of a database that a statement may use for `seconds`, and a process with `connections`."""
    BoundedConnection.default_patience = seconds + _SERVER_MARGIN_SECONDS
    database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=0))
    # A connection of the pool that a restart of the server has cut is found before it is used.
    database["CONN_HEALTH_CHECKS"] = True
    options = database.setdefault("OPTIONS", {})
    options["options"] = f"{options.get('options', '')} -c statement_timeout={int(seconds * 1000)}"
    database["OPTIONS"] = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(seconds * 1000),
        "application_name": "noa",
        **options,
        "pool": {
            "connection_class": BoundedConnection,
            "min_size": 1,
            "max_size": connections,
            "timeout": _POOL_SECONDS,
            "max_idle": _IDLE_SECONDS,
            # A statement's connection is made on other threads, which must not outlive a stop for long.
            "num_workers": 2,
        },
    }
    return database
