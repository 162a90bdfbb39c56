"""Few numbers that stand for many."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import fmean

Summary = dict[str, float | None]


def summarise(values: Sequence[float]) -> Summary:
    """`p50`, `p95`, `p99` (nearest rank: a value that did occur) and `mean`; null when there are no values."""
    ordered = sorted(values)
    summary: Summary = {
        name: _rounded(_nearest(ordered, fraction)) for name, fraction in _FRACTIONS.items()
    }
    return summary | {"mean": _rounded(fmean(ordered) if ordered else None)}


_FRACTIONS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _nearest(ordered: Sequence[float], fraction: float) -> float | None:
    return ordered[max(1, ceil(fraction * len(ordered))) - 1] if ordered else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
