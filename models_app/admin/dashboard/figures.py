"""The figures of the traffic: each with how it was before, and a curve of the last hours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.utils.safestring import SafeString

from models_app.admin import bars, units
from models_app.domain import histogram
from models_app.services.overview import HOURS_SHOWN, Traffic
from models_app.services.rollups import Totals

# A difference below this is no trend.
_NOTICED = 0.05


@dataclass(frozen=True, slots=True)
class Tile:
    """`trend` is -1, 0 or 1; `tone` says whether that is `good`, `bad` or neither (`quiet`)."""

    title: str
    value: str
    note: str
    trend: int
    tone: str
    curve: SafeString


def tiles(traffic: Traffic) -> list[Tile]:
    return [
        _tile(traffic, "Requests today", lambda t: float(t.requests), _count),
        _tile(traffic, "Latency p95", _p95, units.milliseconds, more_is="bad"),
        _tile(traffic, "First token p95", _ttft, units.milliseconds, more_is="bad"),
        _tile(traffic, "Errors", _errors, _part, more_is="bad"),
        _tile(traffic, "Tokens today", _tokens, _count),
        _tile(traffic, "Cost today", _cost, _dollars, more_is="bad"),
    ]


def _tile(
    traffic: Traffic,
    title: str,
    of: Callable[[Totals], float | None],
    words: Callable[[float | None], str],
    *,
    more_is: str = "quiet",
) -> Tile:
    now, before = of(traffic.today), of(traffic.before)
    trend = _trend(now, before)
    less_is = "good" if more_is == "bad" else "quiet"
    return Tile(
        title=title,
        value=words(now),
        note="nothing yesterday" if not before else f"{words(before)} yesterday by now",
        trend=trend,
        tone={1: more_is, 0: "quiet", -1: less_is}[trend],
        curve=bars.curve(
            [of(hour) for hour in traffic.hours],
            label=f"{title} in the last {HOURS_SHOWN} hours",
        ),
    )


def _trend(now: float | None, before: float | None) -> int:
    if now is None or not before or abs(now - before) <= _NOTICED * before:
        return 0
    return 1 if now > before else -1


def _p95(totals: Totals) -> float | None:
    return histogram.quantile(totals.durations, 0.95)


def _ttft(totals: Totals) -> float | None:
    return histogram.quantile(totals.ttfts, 0.95)


def _errors(totals: Totals) -> float | None:
    return totals.errors / totals.requests if totals.requests else None


def _tokens(totals: Totals) -> float | None:
    return float(totals.prompt_tokens + totals.completion_tokens)


def _cost(totals: Totals) -> float | None:
    return float(totals.cost_usd)


def _count(number: float | None) -> str:
    return units.count(number)


def _part(fraction: float | None) -> str:
    return units.NOTHING if fraction is None else units.share(fraction)


def _dollars(amount: float | None) -> str:
    return units.dollars(None if amount is None else Decimal(str(amount)))
