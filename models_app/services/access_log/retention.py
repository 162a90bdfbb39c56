"""Deletes access log rows that have passed their retention time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from models_app.models import AccessLog
from models_app.services.rollups import partitions

# Rows of one transaction: a writer of SQLite waits some milliseconds for it.
CHUNK = 2_000


def access_log(*, now: datetime | None = None) -> int:
    """Delete the rows of days that ended `NOA_ACCESS_LOG_DAYS` ago; their roll-ups stay.

    Returns the number of days (PostgreSQL) or rows (SQLite).
    """
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    first_kept = today - timedelta(days=settings.NOA_ACCESS_LOG_DAYS)
    if partitions.is_divided():
        partitions.make_ahead()
        return partitions.drop_before(first_kept)
    return _delete_before(datetime.combine(first_kept, datetime.min.time(), UTC))


def _delete_before(moment: datetime) -> int:
    table = connection.ops.quote_name(AccessLog._meta.db_table)
    deleted = 0
    while True:
        # Each chunk is a separate transaction, so that other writers can proceed in between.
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE started_at < %s"
                f" ORDER BY started_at LIMIT {CHUNK})",
                [connection.ops.adapt_datetimefield_value(moment)],
            )
            count = int(cursor.rowcount)
        deleted += count
        if count < CHUNK:
            return deleted
