"""Deletes what is older than it has to be kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from models_app.models import AccessLog
from models_app.services.rollups import partitions

# So long a writer of SQLite waits: some milliseconds.
CHUNK = 2_000


def access_log(*, now: datetime | None = None) -> int:
    """Delete the rows of days that are over for `NOA_ACCESS_LOG_DAYS`; the sums made of them stay.

    Returns how many days (PostgreSQL) or rows (SQLite) that were.
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
        # Each chunk is a transaction of its own: between two of them others write.
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
