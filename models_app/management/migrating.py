"""Migrations of a database, serialized between processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from models_app.services.coordination import locks


@contextmanager
def alone() -> Iterator[None]:
    """Holds the advisory lock of migrations, without a time limit for statements."""
    if connection.vendor != "postgresql":
        # SQLite has one writer, and one server per file.
        yield
        return
    connection.ensure_connection()
    raw: Any = connection.connection
    patience = getattr(raw, "patience", None)
    raw.patience = None
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SELECT pg_advisory_lock(%s)", [locks.MIGRATION])
        yield
    finally:
        raw.patience = patience
        if connection.connection is raw and not raw.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [locks.MIGRATION])
                cursor.execute("RESET statement_timeout")
