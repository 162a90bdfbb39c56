"""Stores the gateway's records: one row per request, and the roll-ups that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import CharField
from django.utils import timezone

from models_app.domain.records.access import AccessRecord, Origin
from models_app.domain.records.confidential import storable
from models_app.models import AccessLog, GatewayProcess
from models_app.services.access_log import quarantine
from models_app.services.rollups import partitions, performance, rollups, summing

_COLUMNS = [field for field in AccessLog._meta.concrete_fields if not field.primary_key]
_NAMES = [field.name for field in _COLUMNS]
_SUMMED_BY = ("model_key", "route", "key_id")
_TEXT_LENGTHS = {field.name: field.max_length for field in _COLUMNS if isinstance(field, CharField)}
# Errors that one row can cause; those of a database that is unavailable, slow or not migrated are temporary.
_POISON = (DataError, IntegrityError, OverflowError, TypeError, ValueError)
# The database keeps microseconds.
_ROUNDING = timedelta(seconds=1)


def store(records: Sequence[AccessRecord], origin: Origin | None = None) -> None:
    """Write a batch and add it to the roll-ups. Idempotent by request id.

    A record that the database refuses is put into quarantine, and the others are stored. Raises DatabaseError when the
    database cannot be reached or does not answer: then none or some of the batch is stored, and the call can be
    repeated.
    """
    try:
        _store(records, origin)
    except _POISON as error:
        if len(records) > 1:
            half = len(records) // 2
            store(records[:half], origin)
            store(records[half:], origin)
            return
        quarantine.put_record(records[0], error)
        _store((), origin, quarantined=1)


@transaction.atomic
def _store(records: Sequence[AccessRecord], origin: Origin | None, *, quarantined: int = 0) -> None:
    rollups.lock()
    new = _not_stored(records)
    if new:
        partitions.ensure({summing.moment(record.started_at).date() for record in new})
        _insert(new)
        _add_up(new)
    if origin is not None:
        count(origin, stored=len(new), quarantined=quarantined)


def count(origin: Origin, **more: int) -> None:
    """Add to the counts of a process. Call inside the transaction that stores the records."""
    process, _ = GatewayProcess.objects.get_or_create(
        recorder=origin.recorder,
        defaults={
            "node": origin.node,
            "pid": origin.pid,
            "started_at": summing.moment(origin.started_at),
            "seen_at": timezone.now(),
        },
    )
    process.seen_at = timezone.now()
    process.recorded = max(process.recorded, origin.recorded)
    process.dropped = max(process.dropped, origin.dropped)
    for name, number in more.items():
        setattr(process, name, getattr(process, name) + number)
    process.save()


def _add_up(records: list[AccessRecord]) -> None:
    for record in records:
        for name in _SUMMED_BY:
            setattr(record, name, storable(getattr(record, name))[: _TEXT_LENGTHS[name]])
    cells = summing.cells(records)
    rollups.add(summing.activity_of(cells), summing.traffic_of(cells))
    performance.fold(cells)


def _not_stored(records: Iterable[AccessRecord]) -> list[AccessRecord]:
    by_id = {storable(record.request_id): record for record in records}
    if not by_id:
        return []
    times = [summing.moment(record.started_at) for record in by_id.values()]
    stored = AccessLog.objects.filter(
        request_id__in=by_id,
        # On PostgreSQL a day is a partition: without this, each of them would be searched.
        started_at__gte=min(times) - _ROUNDING,
        started_at__lte=max(times) + _ROUNDING,
    ).values_list("request_id", flat=True)
    for request_id in stored:
        by_id.pop(request_id, None)
    return list(by_id.values())


def _insert(records: list[AccessRecord]) -> None:
    """Use the fastest statement of each database: the ORM's objects take three times as long as SQLite itself."""
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in _COLUMNS)
    table = connection.ops.quote_name(AccessLog._meta.db_table)
    adapters = _adapters()
    rows = [[adapt(getattr(record, name)) for name, adapt in adapters] for record in records]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            copying = cursor.copy(f"COPY {table} ({columns}) FROM STDIN")
            # Django wraps the errors of execute() only.
            with connection.wrap_database_errors, copying as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * len(_COLUMNS))
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)


def _adapters() -> list[tuple[str, Callable[[Any], Any]]]:
    """Functions that convert a record's value to a parameter of this database, by column."""
    return [(name, _adapter(name)) for name in _NAMES]


def _adapter(name: str) -> Callable[[Any], Any]:
    if name in _TEXT_LENGTHS:
        length = _TEXT_LENGTHS[name]
        return lambda text: storable(text)[:length]
    if name == "started_at":
        return lambda at: connection.ops.adapt_datetimefield_value(summing.moment(at))
    if name == "cost_usd":
        return lambda cost: connection.ops.adapt_decimalfield_value(summing.money(cost), 18, 10)
    return lambda value: value
