"""Live metrics of models and routes: figures of the last minutes, hours and days, and series of them for charts.

All of it is read from the roll-ups in Traffic, a few rows for each model and route; the access log is never scanned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection
from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from models_app.domain.measuring import histogram
from models_app.domain.windows import WINDOWS, RollupStep, Window
from models_app.models import Traffic
from models_app.services.rollups import rollups
from models_app.services.rollups.rollups import Totals

DEFAULT_WINDOW = "5m"
_HISTOGRAMS = ("durations", "ttfts")
_SUMS = tuple(name for name in rollups.SUMMED if name != "reads")


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds, within 4.9 %; None when nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one period. Rates are per second of the period; shares are 0 to 1; None means no data."""

    requests: int
    requests_per_second: float
    errors: int
    error_rate: float | None
    # Ended before the answer was whole, by either side.
    aborted: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    # While one streamed answer is written, after its first token; and of all answers together.
    tokens_per_second: float | None
    completion_tokens_per_second: float
    latency_ms: Percentiles
    average_latency_ms: float | None
    ttft_ms: Percentiles
    cost_usd: Decimal
    # Requests with tokens whose price is not known.
    unpriced: int


@dataclass(frozen=True, slots=True)
class Share:
    """The metrics of one model or one route."""

    name: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Live:
    """A window from `start` to `end`: totals, then by model and by route, the busiest first.

    Requests that reached no model are in `total` only; those that named a model by its key belong to no route.
    """

    window: str
    start: datetime
    end: datetime
    total: Metrics
    models: list[Share]
    routes: list[Share]


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series; of the last one, which has not ended, `seconds` is the time that has passed."""

    start: datetime
    seconds: float
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Series:
    window: str
    step: RollupStep
    start: datetime
    end: datetime
    points: list[Point]


def live(
    *,
    window: str = DEFAULT_WINDOW,
    model: str | None = None,
    route: str | None = None,
    now: datetime | None = None,
) -> Live:
    """The figures of the last `window` (a name in `domain.windows.WINDOWS`), optionally of one model or route.

    One query. The window begins with a whole step, so it can be one step longer than its name; see `start`.
    """
    chosen, end = WINDOWS[window], now or timezone.now()
    start = chosen.start(end)
    total, models, routes = Totals(), dict[str, Totals](), dict[str, Totals]()
    pairs: dict[tuple[str, str], Totals] = {}
    for _, key, name, sums in _read(chosen.step, start, end, model, route):
        rollups.merge(pairs.setdefault((key, name), Totals()), sums)
    for (key, name), sums in pairs.items():
        rollups.merge(total, sums)
        rollups.merge(models.setdefault(key, Totals()), sums)
        rollups.merge(routes.setdefault(name, Totals()), sums)
    seconds = max((end - start).total_seconds(), 1.0)
    return Live(
        window=window,
        start=start,
        end=end,
        total=_metrics(total, seconds),
        models=_shares(models, seconds),
        routes=_shares(routes, seconds),
    )


def series(
    *,
    window: str = "1h",
    model: str | None = None,
    route: str | None = None,
    now: datetime | None = None,
) -> Series:
    """One point for each step of the window, empty steps included. One query."""
    chosen, end = WINDOWS[window], now or timezone.now()
    found = {start: Totals() for start in chosen.points(end)}
    start = next(iter(found))
    for at, _, _, sums in _read(chosen.chart_step, start, end, model, route, every=True):
        if at in found:
            rollups.merge(found[at], sums)
    return Series(
        window=window,
        step=chosen.chart_step,
        start=start,
        end=end,
        points=[_point(chosen, at, totals, end) for at, totals in found.items()],
    )


def _point(window: Window, at: datetime, totals: Totals, end: datetime) -> Point:
    passed = max((end - at).total_seconds(), 1.0)
    seconds = min(window.chart_step.length.total_seconds(), passed)
    return Point(at, seconds, _metrics(totals, seconds))


def ever() -> list[tuple[str, str, Totals]]:
    """Sums since the first request, by model key and route; both are empty for requests that reached no model."""
    rows = Traffic.objects.filter(step=RollupStep.EVER).exclude(model_key=rollups.ALL).order_by()
    return [(key, route, sums) for _, key, route, sums in _sums(rows)]


Sum = tuple[datetime, str, str, Totals]
"""Start, model key, route and sums of one row."""


def _read(
    step: RollupStep,
    start: datetime,
    end: datetime,
    model: str | None,
    route: str | None,
    *,
    every: bool = False,
) -> Iterator[Sum]:
    """Rows of a period; with `every` and no filter, the rows of all requests together instead of their parts."""
    rows = Traffic.objects.filter(step=step, start__gte=start, start__lte=end).order_by()
    return _sums(_chosen(rows, model, route, every=every))


def _chosen(rows: QuerySet[Traffic], model: str | None, route: str | None, *, every: bool) -> QuerySet[Traffic]:
    if model is not None:
        rows = rows.filter(model_key=model)
    if route is not None:
        rows = rows.filter(route=route)
    if every and model is None and route is None:
        return rows.filter(model_key=rollups.ALL, route=rollups.ALL)
    return rows.exclude(model_key=rollups.ALL)


def _sums(rows: QuerySet[Traffic]) -> Iterator[Sum]:
    # As text: Django and psycopg would decode JSON with the standard library, which takes five times as long.
    texts = {f"{name}_text": Cast(F(name), TextField()) for name in _HISTOGRAMS}
    columns = ("start", "model_key", "route", *_SUMS, *texts)
    found: Sequence[tuple[Any, ...]] = list(rows.annotate(**texts).values_list(*columns))
    for start, key, route, *rest in found:
        durations, ttfts = (orjson.loads(text) for text in rest[-2:])
        sums = dict(zip(_SUMS, rest, strict=False))
        yield start, key, route, Totals(**sums, durations=durations, ttfts=ttfts)


def _shares(found: dict[str, Totals], seconds: float) -> list[Share]:
    """The shares, busiest first, without the entry of no model or no route."""
    named = [name for name in found if name]
    named.sort(key=lambda name: (-found[name].requests, name))
    return [Share(name, _metrics(found[name], seconds)) for name in named]


def _metrics(totals: Totals, seconds: float) -> Metrics:
    requests, timed = totals.requests, totals.generation_ms
    return Metrics(
        requests=requests,
        requests_per_second=round(requests / seconds, 4),
        errors=totals.errors,
        error_rate=round(totals.errors / requests, 4) if requests else None,
        aborted=totals.aborted,
        prompt_tokens=totals.prompt_tokens,
        cached_tokens=totals.cached_tokens,
        completion_tokens=totals.completion_tokens,
        tokens_per_second=round(totals.timed_tokens * 1000 / timed, 2) if timed else None,
        completion_tokens_per_second=round(totals.completion_tokens / seconds, 4),
        latency_ms=percentiles(totals.durations),
        average_latency_ms=round(totals.duration_ms / requests, 2) if requests else None,
        ttft_ms=percentiles(totals.ttfts),
        cost_usd=totals.cost_usd,
        unpriced=totals.unpriced,
    )


def percentiles(counts: histogram.Histogram) -> Percentiles:
    found = (histogram.quantile(counts, fraction) for fraction in (0.5, 0.95, 0.99))
    return Percentiles(*(None if value is None else round(value, 2) for value in found))


def delete_old(*, now: datetime | None = None) -> int:
    """Delete the rows of short steps that no window reads any more; returns their number."""
    moment = now or timezone.now()
    deleted = 0
    for step in RollupStep:
        if step.kept is not None:
            old = Traffic.objects.filter(step=step, start__lt=moment - step.kept)
            deleted += old._raw_delete(using=connection.alias)
    return deleted
