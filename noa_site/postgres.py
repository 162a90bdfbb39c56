"""Connections to PostgreSQL: pooled, with a time limit for every statement, also when the server hangs."""

from __future__ import annotations

from typing import Any, ClassVar

import dj_database_url
import psycopg
from psycopg import errors

# Time limits in seconds for connecting, for waiting on the pool and for an idle connection. TCP alone waits for hours.
_CONNECT_SECONDS = 5
_POOL_SECONDS = 5.0
_IDLE_SECONDS = 60.0
# A responsive server cancels the statement first, with its own error.
_SERVER_MARGIN_SECONDS = 2.0


class BoundedConnection(psycopg.Connection[Any]):
    """Abandons a statement whose result takes too long: a stopped server cannot report its own time-out."""

    # Seconds. None: no limit, for migrations.
    patience: float | None = None
    # For new connections.
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
            # In the middle of a statement: the connection cannot be used again.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"PostgreSQL did not answer within {self.patience:g} s") from None


class QuickConnection(BoundedConnection):
    """For checks that must fail soon, before their caller's own time limit."""

    default_patience: ClassVar[float | None] = 1.8


def settings(url: str, *, seconds: float, connections: int) -> dict[str, Any]:
    """Django's settings: at most `seconds` for a statement and `connections` for a process."""
    BoundedConnection.default_patience = seconds + _SERVER_MARGIN_SECONDS
    database: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=0))
    # Detects a pooled connection that a restart of the server has closed, before it is used.
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
            # Threads that open connections; few, as they must not delay a stop.
            "num_workers": 2,
        },
    }
    return database


def readiness_options(options: dict[str, Any]) -> dict[str, Any]:
    """Differences from the OPTIONS of `settings`, for the readiness check: at most two more connections."""
    return {
        # The least that libpq accepts.
        "connect_timeout": 2,
        "options": f"{options['options']} -c statement_timeout=1500",
        "pool": options["pool"]
        | {"connection_class": QuickConnection, "min_size": 0, "max_size": 2, "timeout": 1.8, "num_workers": 1},
    }
