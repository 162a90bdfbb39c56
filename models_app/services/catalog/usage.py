"""The usage of one model: sums of the hourly roll-ups."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone

from models_app.domain import periods
from models_app.domain.measuring import histogram
from models_app.domain.measuring.histogram import Histogram
from models_app.domain.periods import Period, Step
from models_app.models import Activity, ApiKey
from models_app.services.catalog import activity, lookup
from models_app.services.rollups import rollups
from models_app.services.rollups.rollups import Totals

_SHOWN = (
    "reads",
    "requests",
    "errors",
    "aborted",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "cost_usd",
    "unpriced",
)
_ROW_FIELDS = (*rollups.SUMMED, "durations", "ttfts", "hour", "key_id")


def represent(totals: Totals) -> dict[str, Any]:
    return {
        **{name: getattr(totals, name) for name in _SHOWN},
        "success_rate": rate(totals.requests - totals.errors, totals.requests),
        "tokens_per_second": speed(totals.timed_tokens, totals.generation_ms),
        "latency_ms": {
            **percentiles(totals.durations),
            "mean": _rounded(totals.duration_ms / totals.requests) if totals.requests else None,
        },
        "ttft_ms": percentiles(totals.ttfts),
    }


def rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def speed(tokens: int, milliseconds: float) -> float | None:
    """Tokens per second of one answer while it is generated; None when none was timed."""
    return round(tokens * 1000 / milliseconds, 2) if milliseconds else None


def percentiles(counts: Histogram) -> dict[str, float | None]:
    return {
        name: _rounded(histogram.quantile(counts, fraction))
        for name, fraction in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def total(rows: Iterable[Activity]) -> Totals:
    totals = Totals()
    for row in rows:
        rollups.merge(totals, row)
    return totals


def of_model(*, key: str, since: datetime | None, until: datetime | None, step: Step) -> dict[str, Any]:
    """The body of the API's response; raises ModelNotFound, or InvalidRequest for an impossible period.

    Four queries, whatever the period.
    """
    model = lookup.get(key=key)
    period = periods.period(since=since, until=until, now=timezone.now(), step=step)
    rows = list(
        Activity.objects.filter(model_key=model.key, hour__gte=period.start, hour__lt=period.end).only(*_ROW_FIELDS)
    )
    count, last = activity.accesses(key=model.key)
    return {
        "key": model.key,
        "accesses": count,
        "last_accessed_at": last,
        "from": period.start,
        "to": period.end,
        "group_by": str(step),
        "totals": represent(total(rows)),
        "series": _series(rows, period),
        "by_key": _by_key(rows),
    }


def _series(rows: Iterable[Activity], period: Period) -> list[dict[str, Any]]:
    """One entry for each step, empty steps included."""
    points = {start: Totals() for start in period.starts()}
    for row in rows:
        rollups.merge(points[period.step.floor(row.hour)], row)
    return [{"start": start, **represent(totals)} for start, totals in points.items()]


def _by_key(rows: Iterable[Activity]) -> list[dict[str, Any]]:
    """Usage by API key, the busiest first. Reads of the registry are not counted by key."""
    found: dict[str, Totals] = {}
    for row in rows:
        if row.requests:
            rollups.merge(found.setdefault(row.key_id, Totals()), row)
    names = dict(ApiKey.objects.filter(key_id__in=found).values_list("key_id", "name"))
    return [
        {"key_id": key_id, "name": names.get(key_id), **represent(found[key_id])}
        for key_id in sorted(found, key=lambda key_id: (-found[key_id].requests, key_id))
    ]
