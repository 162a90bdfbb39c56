"""Stores what the gateway recorded."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from django.db.models import CharField

from models_app.domain.access import AccessRecord
from models_app.models import AccessLog

_TEXT_LENGTHS = {
    field.name: field.max_length for field in AccessLog._meta.fields if isinstance(field, CharField)
}


def store(records: list[AccessRecord]) -> None:
    """Write a batch; a row that is there already (same request id) is left as it is."""
    AccessLog.objects.bulk_create([_row(record) for record in records], ignore_conflicts=True)


def _row(record: AccessRecord) -> AccessLog:
    values = asdict(record)
    values["started_at"] = datetime.fromtimestamp(record.started_at, UTC)
    for name, length in _TEXT_LENGTHS.items():
        values[name] = _storable(values[name])[:length]
    return AccessLog(**values)


def _storable(text: str) -> str:
    """One NUL or lone surrogate makes PostgreSQL refuse a whole batch."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
