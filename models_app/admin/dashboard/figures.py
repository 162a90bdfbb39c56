"""Tiles of traffic figures: each with its previous value and a sparkline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.utils.safestring import SafeString

from models_app.admin.parts import bars, units
from models_app.domain.measuring import histogram
from models_app.services.reporting.overview import HOURS_SHOWN, Traffic
from models_app.services.rollups.live_metrics import Metrics
from models_app.services.rollups.rollups import Totals

# A smaller relative difference is not shown as a trend.
_NOTICED = 0.05


@dataclass(frozen=True, slots=True)
class Tile:
    """`trend` is -1, 0 or 1; `tone` rates it: `good`, `bad` or `quiet` (neither)."""

    title: str
    value: str
    note: str
    curve: SafeString
    trend: int = 0
    tone: str = "quiet"


def tiles(traffic: Traffic) -> list[Tile]:
    return [
        _rate(traffic),
        _recent(traffic, "Latency p95", lambda m: m.latency_ms.p95, lambda t: t.durations, units.milliseconds),
        _recent(traffic, "First token p95", lambda m: m.ttft_ms.p95, lambda t: t.ttfts, units.milliseconds),
        _errors(traffic),
        _day(traffic, "Tokens today", _tokens, units.count),
        _day(traffic, "Cost today", _cost, _dollars),
    ]


def _rate(traffic: Traffic) -> Tile:
    per_second = traffic.minutes.requests_per_second
    return Tile(
        title="Requests per second",
        value=units.rate(per_second),
        note=f"{units.count(traffic.today.requests)} today, {units.count(traffic.before.requests)} yesterday",
        curve=_minutes(traffic, "Requests per second", lambda m: m.requests_per_second),
        trend=_trend(per_second, traffic.hour.requests_per_second),
    )


def _recent(
    traffic: Traffic,
    title: str,
    of: Callable[[Metrics], float | None],
    histogram_of: Callable[[Totals], histogram.Histogram],
    words: Callable[[float | None], str],
) -> Tile:
    """A percentile of the last hour, compared with the day before."""
    now = of(traffic.hour)
    before = histogram.quantile(histogram_of(traffic.before), 0.95)
    trend = _trend(now, before)
    return Tile(
        title=title,
        value=words(now),
        note=_comparison(None if before is None else words(before), has_now=now is not None),
        curve=_minutes(traffic, title, of),
        trend=trend,
        tone={1: "bad", 0: "quiet", -1: "good"}[trend],
    )


def _errors(traffic: Traffic) -> Tile:
    now = traffic.hour.error_rate
    before = traffic.before.errors / traffic.before.requests if traffic.before.requests else None
    trend = _trend(now, before)
    return Tile(
        title="Errors in the last hour",
        value=units.NOTHING if now is None else units.share(now),
        note=_comparison(None if before is None else units.share(before), has_now=now is not None),
        curve=_minutes(traffic, "Errors", lambda m: m.error_rate),
        trend=trend,
        tone={1: "bad", 0: "quiet", -1: "good"}[trend],
    )


def _comparison(before: str | None, *, has_now: bool) -> str:
    if not has_now:
        return "no request in the last hour"
    return "nothing yesterday" if before is None else f"{before} yesterday"


def _day(traffic: Traffic, title: str, of: Callable[[Totals], float], words: Callable[[float], str]) -> Tile:
    """A sum since midnight (UTC), compared with the same span of the day before."""
    now, before = of(traffic.today), of(traffic.before)
    return Tile(
        title=title,
        value=words(now),
        note=f"{words(before)} yesterday by now" if before else "nothing yesterday",
        curve=bars.curve(
            [of(hour) for hour in traffic.hours],
            label=f"{title}, of the last {HOURS_SHOWN} hours",
        ),
        trend=_trend(now, before),
    )


def _minutes(traffic: Traffic, title: str, of: Callable[[Metrics], float | None]) -> SafeString:
    return bars.curve([of(point.metrics) for point in traffic.points], label=f"{title} in the last hour")


def _trend(now: float | None, before: float | None) -> int:
    if now is None or not before or abs(now - before) <= _NOTICED * before:
        return 0
    return 1 if now > before else -1


def _tokens(totals: Totals) -> float:
    return float(totals.prompt_tokens + totals.completion_tokens)


def _cost(totals: Totals) -> float:
    return float(totals.cost_usd)


def _dollars(amount: float) -> str:
    return units.dollars(Decimal(str(amount)))
