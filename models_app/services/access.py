"""Stores what the gateway recorded."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from models_app.domain.access import AccessRecord
from models_app.models import AccessLog


def store(records: list[AccessRecord]) -> None:
    """Write a batch; a row that is there already (same request id) is left as it is."""
    AccessLog.objects.bulk_create([_row(record) for record in records], ignore_conflicts=True)


def _row(record: AccessRecord) -> AccessLog:
    values = asdict(record)
    values["started_at"] = datetime.fromtimestamp(record.started_at, UTC)
    for name in ("requested_model", "route", "error_code", "client", "key_id", "model_key"):
        length = AccessLog._meta.get_field(name).max_length
        values[name] = _storable(values[name])[:length]
    return AccessLog(**values)


def _storable(text: str) -> str:
    """One NUL or lone surrogate makes PostgreSQL refuse a whole batch."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
