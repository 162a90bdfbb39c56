"""Histograms: small, mergeable, and as exact as documented."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.measuring import histogram
from models_app.domain.measuring.histogram import GROWTH, Histogram

durations = st.lists(st.floats(0.002, 1e9), min_size=1, max_size=60)


def of(values: list[float]) -> Histogram:
    made: Histogram = {}
    for value in values:
        histogram.add(made, value)
    return made


@given(durations, st.floats(0.0, 1.0))
def test_a_quantile_is_within_the_documented_error(values: list[float], fraction: float) -> None:
    exact = sorted(values)[max(1, ceil(fraction * len(values))) - 1]
    found = histogram.quantile(of(values), fraction)
    assert found == pytest.approx(exact, rel=GROWTH**0.5 - 1 + 1e-6)


@given(durations, durations)
def test_merging_is_adding_all_values(one: list[float], other: list[float]) -> None:
    assert histogram.merged([of(one), of(other)]) == of(one + other)


@given(durations)
def test_merging_changes_only_what_is_merged_into(values: list[float]) -> None:
    other = of(values)
    histogram.merge({}, other)
    assert other == of(values)


def test_nothing_has_no_quantile() -> None:
    assert histogram.quantile({}, 0.5) is None


@pytest.mark.parametrize("value", [0.0, 1e-9, -1.0])
def test_what_is_too_small_is_in_the_first_bucket(value: float) -> None:
    assert histogram.bucket_of(value) == histogram.bucket_of(0.0)
    assert histogram.quantile(of([value]), 0.5) == pytest.approx(0.001, rel=0.05)


def test_a_broken_clock_makes_no_bucket_without_end() -> None:
    assert histogram.bucket_of(1e300) == histogram.bucket_of(float("inf"))
    assert int(histogram.bucket_of(1e300)) < 400


def test_a_day_of_durations_is_small() -> None:
    assert len(of([n * 1.0 for n in range(1, 100_000)])) < 130


def test_a_bucket_holds_its_upper_end() -> None:
    for bucket in range(-72, 280):
        assert histogram.bucket_of(GROWTH**bucket) == str(bucket)
        assert histogram.bucket_of(GROWTH ** (bucket + 0.001)) == str(bucket + 1)


def test_values_are_counted_once_unless_a_number_is_given() -> None:
    made: Histogram = {}
    histogram.add(made, 5.0)
    histogram.add(made, 5.0, 3)
    histogram.add(made, 50.0)
    assert made == {histogram.bucket_of(5.0): 4, histogram.bucket_of(50.0): 1}


def test_values_up_to_a_bound_are_counted_by_the_middles_of_buckets() -> None:
    made = {"0": 2, "5": 3, "9": 4}
    for bound, count in (
        (histogram.middle("0") * 0.999, 0),
        (histogram.middle("0"), 2),
        (histogram.middle("4"), 2),
        (histogram.middle("5"), 5),
        (histogram.middle("9"), 9),
        (1e300, 9),
    ):
        assert histogram.count_up_to(made, bound) == count
    assert histogram.count_up_to({}, 1.0) == 0
