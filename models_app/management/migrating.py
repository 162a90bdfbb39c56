"""Migrations of a database that several processes may find old at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from models_app.services.coordination import locks


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process migrates; what is done inside may take as long as it takes."""
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
