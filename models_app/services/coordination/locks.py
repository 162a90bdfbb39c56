"""Advisory locks: work that only one transaction can do at a time."""

from __future__ import annotations

from django.db import connection

from models_app.services.coordination import notifications

# The numbers of the advisory locks: "NOA" in ASCII, and a suffix. No other code uses them in this database.
FACTS = 0x4E4F41
SUMS = 0x4E4F4101
MIGRATION = 0x4E4F4102


def take(number: int) -> None:
    """Wait for the lock, and hold it until the transaction ends. SQLite has one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def take_and_announce(number: int) -> None:
    """As `take` and `notifications.announce`, in one statement."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s), pg_notify(%s, %s)",
                [number, notifications.CHANNEL, notifications.ORIGIN],
            )
