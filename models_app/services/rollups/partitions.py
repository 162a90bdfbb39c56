"""The days of the access log on PostgreSQL, each a table: made ahead, dropped whole. SQLite has one table, and none of this."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from models_app.models import AccessLog
from models_app.services.rollups import rollups

_TABLE = AccessLog._meta.db_table
# Enough for a worker that is away over a long weekend.
_AHEAD = 4
# A query that reads the whole log must not hold up everybody who writes to it: the next look tries again.
_LOCK_SECONDS = 2
_CHILDREN = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"

# What this process has seen to be there. Only days that retention is far from: those stay.
_known: set[date] = set()


def is_divided() -> bool:
    return connection.vendor == "postgresql"


def ensure(days: Iterable[date]) -> None:
    """Make the tables of these days where they are missing. Call with the lock of `rollups`, in a transaction."""
    wanted = set(days) - _known
    if not wanted or not is_divided():
        return
    there = existing()
    for day in sorted(wanted - there):
        _create(day)
    recent = datetime.now(UTC).date() - timedelta(days=1)
    # Known only once this transaction has ended well.
    transaction.on_commit(lambda: _known.update(day for day in wanted if day >= recent))


def _create(day: date) -> None:
    table = _name(day)
    start, end = f"{day:%Y-%m-%d} 00:00+00", f"{day + timedelta(days=1):%Y-%m-%d} 00:00+00"
    with connection.cursor() as cursor:
        # Attached afterwards: PARTITION OF would wait for everybody who reads the log, and make others wait.
        cursor.execute(f"CREATE TABLE {table} (LIKE {_TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(
            f"ALTER TABLE {_TABLE} ATTACH PARTITION {table} FOR VALUES FROM (%s) TO (%s)",
            [start, end],
        )


def existing() -> set[date]:
    with connection.cursor() as cursor:
        cursor.execute(_CHILDREN, [_TABLE])
        names = [name for (name,) in cursor.fetchall()]
    return {datetime.strptime(name[-8:], "%Y%m%d").date() for name in names}


def make_ahead() -> None:
    """The days that come next, so that no batch has to."""
    today = datetime.now(UTC).date()
    with transaction.atomic():
        rollups.lock()
        ensure(today + timedelta(days=number) for number in range(_AHEAD))


def drop_before(day: date) -> int:
    """Drop the tables of earlier days; returns how many. Raises OperationalError when the log is being read for long."""
    dropped = 0
    for old in sorted(existing()):
        if old < day:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                cursor.execute(f"DROP TABLE {_name(old)}")
            _known.discard(old)
            dropped += 1
    return dropped


def _name(day: date) -> str:
    return f"{_TABLE}_p{day:%Y%m%d}"
