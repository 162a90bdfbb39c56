"""Histograms with buckets that grow by a constant factor: small, mergeable, and exact to a known relative error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, exp, log

# The relative error of a quantile is at most sqrt(1.1) - 1, which is 4.9 %; from 1 ms to 1 h that takes 160 buckets.
GROWTH = 1.1
_STEP = log(GROWTH)
# Values up to a microsecond (the unit is milliseconds), 0 included, are in the first bucket.
_SMALLEST = 1e-3
_FIRST = ceil(log(_SMALLEST) / _STEP)
# Over 30 years in milliseconds: a broken clock must not create unbounded buckets.
_LARGEST = 1e12

Histogram = dict[str, int]
"""Counts by bucket number: bucket b holds values over GROWTH**(b-1) and up to GROWTH**b. Can be stored as JSON."""


def bucket_of(value: float) -> str:
    """The bucket of a value that is not negative."""
    if value <= _SMALLEST:
        return str(_FIRST)
    return str(ceil(log(min(value, _LARGEST)) / _STEP - 1e-9))


def add(histogram: Histogram, value: float, count: int = 1) -> None:
    bucket = bucket_of(value)
    histogram[bucket] = histogram.get(bucket, 0) + count


def merge(into: Histogram, other: Mapping[str, int]) -> None:
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count


def merged(histograms: Iterable[Mapping[str, int]]) -> Histogram:
    total: Histogram = {}
    for histogram in histograms:
        merge(total, histogram)
    return total


def quantile(histogram: Mapping[str, int], fraction: float) -> float | None:
    """The value below which `fraction` (0 to 1) of all lie, within 4.9 %; None for an empty histogram.

    The rank is that of the nearest-rank method: the ceil(fraction * n)-th smallest value.
    """
    total = sum(histogram.values())
    if not total:
        return None
    rank = max(1, ceil(fraction * total))
    for bucket in sorted(histogram, key=int):
        rank -= histogram[bucket]
        if rank <= 0:
            break
    return middle(bucket)


def middle(bucket: str) -> float:
    """The geometric middle of a bucket, which is equally far, as a factor, from both of its ends."""
    return exp((int(bucket) - 0.5) * _STEP)


def count_up_to(histogram: Mapping[str, int], value: float) -> int:
    """The number of values up to `value`, with each value in the middle of its bucket."""
    return sum(count for bucket, count in histogram.items() if middle(bucket) <= value)
