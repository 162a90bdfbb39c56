"""Stores what the gateway recorded: one row per request, and the hourly sums that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import CharField

from models_app.domain import histogram
from models_app.domain.access import AccessRecord
from models_app.domain.confidential import storable
from models_app.models import AccessLog
from models_app.services import rollups

_COLUMNS = [field for field in AccessLog._meta.concrete_fields if not field.primary_key]
_NAMES = [field.name for field in _COLUMNS]
_TEXT_LENGTHS = {field.name: field.max_length for field in _COLUMNS if isinstance(field, CharField)}
# Of a request whose client left before there was an answer: nobody failed.
_CLIENT_LEFT = "client_left"
# What Activity's and AccessLog's decimal columns hold.
_COST_DIGITS = Decimal("1e-10")


def store(records: Sequence[AccessRecord]) -> None:
    """Write a batch and add it to the sums, in one transaction. What is stored already (same request id) changes nothing."""
    with transaction.atomic():
        rollups.lock()
        new = _not_stored(records)
        if new:
            _insert(new)
            rollups.add(_sums_of(new))


def _not_stored(records: Iterable[AccessRecord]) -> list[AccessRecord]:
    by_id = {storable(record.request_id): record for record in records}
    stored = AccessLog.objects.filter(request_id__in=by_id).values_list("request_id", flat=True)
    for request_id in stored:
        del by_id[request_id]
    return list(by_id.values())


def _insert(records: list[AccessRecord]) -> None:
    """The way that is fastest in each database: the ORM's objects take three times as long as SQLite does."""
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in _COLUMNS)
    table = connection.ops.quote_name(AccessLog._meta.db_table)
    adapters = _adapters()
    rows = [[adapt(getattr(record, name)) for name, adapt in adapters] for record in records]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * len(_COLUMNS))
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)


def _adapters() -> list[tuple[str, Callable[[Any], Any]]]:
    """What makes of a record's value the parameter that this database takes, column by column."""
    return [(name, _adapter(name)) for name in _NAMES]


def _adapter(name: str) -> Callable[[Any], Any]:
    if name in _TEXT_LENGTHS:
        length = _TEXT_LENGTHS[name]
        return lambda text: storable(text)[:length]
    if name == "started_at":
        return lambda at: connection.ops.adapt_datetimefield_value(_moment(at))
    if name == "cost_usd":
        return lambda cost: connection.ops.adapt_decimalfield_value(_money(cost), 18, 10)
    return lambda value: value


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _money(cost: float | None) -> Decimal | None:
    return None if cost is None else Decimal(repr(cost)).quantize(_COST_DIGITS)


def _sums_of(records: Iterable[AccessRecord]) -> dict[rollups.Place, rollups.Sums]:
    found: dict[rollups.Place, rollups.Sums] = {}
    for record in records:
        at = _moment(record.started_at)
        hour = at.replace(minute=0, second=0, microsecond=0)
        own = (_text(record, "model_key"), hour, _text(record, "key_id"))
        for place in (own, (rollups.ALL, hour, "")):
            if place not in found:
                found[place] = rollups.Sums(last_at=at)
            _add(found[place], record, at)
    return found


def _text(record: AccessRecord, name: str) -> str:
    return storable(getattr(record, name))[: _TEXT_LENGTHS[name]]


def _add(sums: rollups.Sums, record: AccessRecord, at: datetime) -> None:
    sums.last_at = max(sums.last_at, at)
    sums.requests += 1
    sums.errors += is_error(record)
    sums.aborted += record.aborted
    sums.prompt_tokens += record.prompt_tokens or 0
    sums.cached_tokens += record.cached_tokens or 0
    sums.completion_tokens += record.completion_tokens or 0
    sums.duration_ms += record.duration_ms
    histogram.add(sums.durations, record.duration_ms)
    _add_cost(sums, record)
    _add_speed(sums, record)


def _add_cost(sums: rollups.Sums, record: AccessRecord) -> None:
    cost = _money(record.cost_usd)
    if cost is not None:
        sums.cost_usd += cost
    elif record.prompt_tokens is not None:
        # Without tokens there is nothing that could cost.
        sums.unpriced += 1


def _add_speed(sums: rollups.Sums, record: AccessRecord) -> None:
    if record.ttft_ms is None:
        return
    histogram.add(sums.ttfts, record.ttft_ms)
    tokens = record.completion_tokens or 0
    seconds = record.duration_ms - record.ttft_ms
    # The first token is there when the measurement begins.
    if tokens > 1 and seconds > 0 and not record.aborted:
        sums.timed_tokens += tokens - 1
        sums.generation_ms += seconds


def is_error(record: AccessRecord) -> bool:
    """Whether the request ended in an error, the caller's or ours; a client that left is none."""
    return record.error_code != _CLIENT_LEFT and (record.status >= 400 or bool(record.error_code))
