"""The roll-ups of traffic: added up here, read by statistics, usage and the live metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import orjson
from django.db import connection
from django.db.models import DateTimeField, DecimalField, JSONField

from models_app.domain.measuring import histogram
from models_app.domain.measuring.histogram import Histogram
from models_app.models import Activity, RegisteredModel, Traffic
from models_app.models.activity import TrafficSums
from models_app.services.coordination import locks

Place = tuple[str, datetime, str]
"""Model key, start of the hour, API key's id: the key of one row of Activity."""

TrafficPlace = tuple[str, datetime, str, str]
"""Step, its start, model key, route: the key of one row of Traffic."""

# All models and keys together, requests that no model answered included: a total then reads one row per hour. No
# model key has this form.
ALL = "*"

# Places of one query: SQLite takes 32,766 parameters, and a place has three.
_AT_ONCE = 500


@dataclass(slots=True)
class Totals:
    """Rows of Activity added up; its fields are documented there."""

    reads: int = 0
    requests: int = 0
    errors: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    duration_ms: float = 0.0
    timed_tokens: int = 0
    generation_ms: float = 0.0
    durations: Histogram = field(default_factory=dict)
    ttfts: Histogram = field(default_factory=dict)


@dataclass(slots=True)
class Sums(Totals):
    """The increment of one row, with the time of its last request."""

    last_at: datetime = field(kw_only=True)


_HISTOGRAMS = ("durations", "ttfts")
SUMMED = tuple(column.name for column in fields(Totals) if column.name not in _HISTOGRAMS)


def merge(into: Totals | TrafficSums, more: Totals | TrafficSums) -> None:
    """Add `more` to `into`."""
    for name in SUMMED:
        setattr(into, name, getattr(into, name) + getattr(more, name))
    for name in _HISTOGRAMS:
        histogram.merge(getattr(into, name), getattr(more, name))


class Table:
    """A table of roll-ups: the key columns of a row, and the columns that are summed."""

    def __init__(self, model: type[Activity | Traffic], place: tuple[str, ...]) -> None:
        self.model = model
        self.place = place
        by_name = {column.name: column for column in model._meta.concrete_fields}
        summed = [column.name for column in fields(Sums) if column.name in by_name]
        self.columns = [by_name[name] for name in (*place, *summed)]


ACTIVITY = Table(Activity, ("model_key", "hour", "key_id"))
TRAFFIC = Table(Traffic, ("step", "start", "model_key", "route"))


def lock() -> None:
    """One writer at a time, until the transaction ends: sums are read, added to in Python and written back.

    On SQLite a writing transaction is exclusive from its start. One lock for all tables rules out deadlocks.
    """
    locks.take(locks.SUMS)


def add(sums: Mapping[Place, Sums], traffic: Mapping[TrafficPlace, Sums] | None = None) -> None:
    """Add to rows of Activity and Traffic, and to the access counts of the models. Call inside a transaction."""
    lock()
    _add_to(ACTIVITY, sums)
    _add_to(TRAFFIC, traffic or {})
    _count_accesses(sums)


def _add_to(table: Table, sums: Mapping[Any, Sums]) -> None:
    places = sorted(sums)
    for start in range(0, len(places), _AT_ONCE):
        _add_rows(table, {place: sums[place] for place in places[start : start + _AT_ONCE]})


def _add_rows(table: Table, sums: Mapping[Any, Sums]) -> None:
    place_of, of_row = attrgetter(*table.place), attrgetter(*(column.attname for column in table.columns))
    found = {place_of(row): row for row in _rows(table, sums)}
    adapters = [_adapter(column) for column in table.columns]
    rows = [_plus(found.get(place), table, place, more) for place, more in sums.items()]
    columns = [connection.ops.quote_name(str(column.column)) for column in table.columns]
    known_by = len(table.place)
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns[known_by:])
    name = connection.ops.quote_name(table.model._meta.db_table)
    places = ", ".join(["%s"] * len(columns))
    with connection.cursor() as cursor:
        # The ORM would make one statement of all rows, and PostgreSQL's driver takes long to read one so large.
        cursor.executemany(
            f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({places})"
            f" ON CONFLICT ({', '.join(columns[:known_by])}) DO UPDATE SET {changes}",
            [[adapt(value) for adapt, value in zip(adapters, of_row(row), strict=True)] for row in rows],
        )


def _adapter(column: Any) -> Callable[[Any], Any]:
    """Replaces the field's `get_db_prep_save`, which looks up the connection for each value."""
    if isinstance(column, JSONField):
        return lambda value: orjson.dumps(value).decode()
    if isinstance(column, DecimalField):
        digits, places = column.max_digits, column.decimal_places
        adapt = connection.ops.adapt_decimalfield_value
        return lambda value: adapt(value, digits, places)
    if isinstance(column, DateTimeField):
        return connection.ops.adapt_datetimefield_value
    return _unchanged


def _unchanged(value: Any) -> Any:
    return value


def _rows(table: Table, places: Mapping[Any, Sums]) -> Iterable[Activity | Traffic]:
    """The rows of these places, and possibly others."""
    conditions = {f"{name}__in": {place[number] for place in places} for number, name in enumerate(table.place)}
    return table.model._default_manager.filter(**conditions)


def _plus(row: Activity | Traffic | None, table: Table, place: tuple[Any, ...], more: Sums) -> Activity | Traffic:
    if row is None:
        row = table.model(**dict(zip(table.place, place, strict=True)), last_at=more.last_at)
    merge(row, more)
    row.last_at = max(row.last_at, more.last_at)
    return row


def _count_accesses(sums: Mapping[Place, Sums]) -> None:
    counts: dict[str, tuple[int, datetime]] = {}
    for (key, _, _), more in sums.items():
        count, last = counts.get(key, (0, more.last_at))
        counts[key] = (count + more.reads + more.requests, max(last, more.last_at))
    for no_model in ("", ALL):
        counts.pop(no_model, None)
    table = connection.ops.quote_name(RegisteredModel._meta.db_table)
    adapt = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        # The ORM cannot express one statement for many rows.
        cursor.executemany(
            f"UPDATE {table} SET access_count = access_count + %s, last_accessed_at ="
            " CASE WHEN last_accessed_at > %s THEN last_accessed_at ELSE %s END WHERE key = %s",
            [(count, adapt(at), adapt(at), key) for key, (count, at) in sorted(counts.items())],
        )
