"""The daily partitions of the access log on PostgreSQL, created ahead and dropped whole. SQLite has one table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from models_app.models import AccessLog
from models_app.services.rollups import rollups

_TABLE = AccessLog._meta.db_table
# Enough for a worker that is down over a long weekend.
_AHEAD = 4
# A query that reads the whole log must not block all writers: the next run retries.
_LOCK_SECONDS = 2
_CHILDREN = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass"

# Days that this process has found to exist; only recent ones, which retention does not drop.
_known: set[date] = set()


def is_divided() -> bool:
    return connection.vendor == "postgresql"


def ensure(days: Iterable[date]) -> None:
    """Create the missing partitions of these days. Call with the lock of `rollups`, in a transaction."""
    missing = set(days) - _known
    if not missing or not is_divided():
        return
    present = existing()
    for day in sorted(missing - present):
        _create(day)
    recent = datetime.now(UTC).date() - timedelta(days=1)
    # Recorded once this transaction is committed: a rollback removes the partitions.
    transaction.on_commit(lambda: _known.update(day for day in missing if day >= recent))


def _create(day: date) -> None:
    table = _name(day)
    start, end = f"{day:%Y-%m-%d} 00:00+00", f"{day + timedelta(days=1):%Y-%m-%d} 00:00+00"
    with connection.cursor() as cursor:
        # Attached afterwards: PARTITION OF would wait for all readers of the log, and block new ones meanwhile.
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
    """Create the partitions of the next days ahead, so that no batch waits for it."""
    today = datetime.now(UTC).date()
    with transaction.atomic():
        rollups.lock()
        ensure(today + timedelta(days=number) for number in range(_AHEAD))


def drop_before(day: date) -> int:
    """Drop the partitions of earlier days; returns their number. Raises OperationalError when a reader blocks it."""
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
