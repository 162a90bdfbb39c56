"""The sizes of tables and of the data folder, and a warning when one of them is large."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.models import Event
from models_app.services.events import events

# One event a day for each thing that is large.
_PAUSE = timedelta(days=1)
REMEDY = "Delete what is not needed, or shorten how long data is kept; see docs/operations.md."


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    bytes: int

    @property
    def is_large(self) -> bool:
        return self.bytes > int(settings.NOA_STORAGE_WARNING)

    @property
    def sentence(self) -> str:
        limit = int(settings.NOA_STORAGE_WARNING)
        return f"{self.name} has {self.bytes / 2**30:.1f} GiB, more than {limit / 2**30:.1f} GiB (NOA_STORAGE_WARNING)."


def measured() -> list[Size]:
    """Each table on PostgreSQL, the database on SQLite, and the data folder without them and without models."""
    sizes = _tables() if connection.vendor == "postgresql" else [_database_file()]
    return [*sizes, Size("The data folder", _folder())]


def report() -> None:
    """Publish an event for each size that is too large, once a day."""
    for size in measured():
        recent = Event.objects.filter(
            name=EventName.STORAGE_LARGE, subject=size.name, created_at__gt=timezone.now() - _PAUSE
        )
        if size.is_large and not recent.exists():
            events.publish(
                name=EventName.STORAGE_LARGE,
                subject=size.name,
                message=f"{size.sentence} {REMEDY}",
                actor="retention",
                cause="policy",
                data={"bytes": size.bytes},
            )


def _tables() -> list[Size]:
    """With their indexes; a partitioned table is the sum of its partitions."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models():
            table = model._meta.db_table
            cursor.execute(
                "SELECT COALESCE(SUM(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(%s::regclass)", [table]
            )
            (partitioned,) = cursor.fetchone()
            cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [table])
            (whole,) = cursor.fetchone()
            found.append(Size(f"The table {table}", max(int(partitioned), int(whole))))
    return found


def _database_file() -> Size:
    path = Path(str(connection.settings_dict["NAME"]))
    return Size("The database", sum(_size(path.with_name(path.name + end)) for end in ("", "-wal")))


def _folder() -> int:
    models = {str(root) for root in settings.NOA_MODEL_ROOTS}
    total = 0
    for folder, names, files in os.walk(settings.NOA_DATA_DIR):
        names[:] = [name for name in names if os.path.join(folder, name) not in models]
        total += sum(_size(Path(folder, name)) for name in files if ".sqlite3" not in name)
    return total


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # deleted at this moment
        return 0
