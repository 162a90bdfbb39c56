"""Intervals have their nominal coverage, on samples of known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models_app.domain.measuring import intervals


@pytest.mark.parametrize(
    ("count", "fraction", "ranks"),
    [
        # From printed tables of order statistics.
        (10, 0.5, (2, 9)),
        (20, 0.5, (6, 15)),
        (100, 0.5, (40, 61)),
        (5, 0.5, (None, None)),
        (6, 0.5, (1, 6)),
        (100, 0.95, (90, 100)),
        (100, 0.99, (97, None)),
        (1, 0.5, (None, None)),
        (0, 0.5, (None, None)),
    ],
)
def test_a_quantile_lies_between_two_ranks(count: int, fraction: float, ranks: tuple[int | None, int | None]) -> None:
    values = [float(rank) for rank in range(count, 0, -1)]
    assert intervals.of_quantile(values, fraction) == ranks


def test_one_thousand_values_do_not_overflow() -> None:
    low, high = intervals.of_quantile(list(range(1000)), 0.5)
    assert low is not None and high is not None
    assert 460 < low < 500 < high < 540


# For few skewed values the coverage is a little less than 95 %; that of the normal interval is 85 % with eight.
@pytest.mark.parametrize(("count", "least"), [(8, 0.88), (30, 0.9)])
def test_the_mean_of_skewed_values_is_held_in_95_of_100_intervals(count: int, least: float) -> None:
    random = np.random.default_rng(7)
    truth = math.exp(0.5**2 / 2)
    ends = [intervals.of_mean(random.lognormal(0, 0.5, count).tolist()) for _ in range(200)]
    held = sum(low <= truth <= high for low, high in ends if low is not None and high is not None)
    assert least <= held / len(ends) <= 0.99


def test_the_ratio_of_two_means_is_held_in_95_of_100_intervals() -> None:
    random = np.random.default_rng(8)
    ends = [intervals.of_log_ratio(random.normal(0, 0.2, 12), random.normal(0.1, 0.4, 12)) for _ in range(200)]
    held = sum(low <= 0.1 <= high for low, high in ends if low is not None and high is not None)
    assert 0.9 <= held / len(ends) <= 0.99


def test_equal_values_have_an_interval_without_width() -> None:
    assert intervals.of_mean([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_two_values_say_nothing_of_their_mean() -> None:
    assert intervals.of_mean([1.0, 2.0]) == (None, None)


def test_gaps_of_one_answer_count_as_one_observation() -> None:
    # The gaps differ between answers and not within: 500 gaps are then only five observations.
    groups = [[float(place)] * 100 for place in range(5)]
    ((low, high),) = intervals.of_grouped_quantiles(groups, [0.5])
    assert low is not None and high is not None and high - low >= 2
    assert intervals.of_grouped_quantiles([[1.0], []], [0.5]) == [(None, None)]


def test_three_groups_have_an_interval_and_each_group_counts() -> None:
    # The group of a hundred zeros outweighs the others where it is drawn, which is in two of three resamples.
    groups = [[0.0] * 100, [5.0], [5.0]]
    assert intervals.of_grouped_quantiles(groups, [0.5]) == [(0.0, 5.0)]
    assert intervals.of_grouped_quantiles(groups[:2], [0.5]) == [(None, None)]
    assert intervals.of_grouped_quantiles([[3], [3], [3]], [0.1, 0.9]) == [(3.0, 3.0), (3.0, 3.0)]


def test_the_ends_of_grouped_quantiles_leave_out_two_and_a_half_percent() -> None:
    # None of the heavy groups is drawn in 2.4 % of the resamples from six light ones, and in 2.8 % from five.
    for light, heavy, high in ((6, 3, 0.0), (5, 3, 5.0)):
        groups = [[5.0]] * light + [[0.0] * 1000] * heavy
        assert intervals.of_grouped_quantiles(groups, [0.5]) == [(0.0, high)]


def test_long_answers_have_an_interval_from_fewer_resamples() -> None:
    # As many values as make the bound on all resamples together count.
    values = np.random.default_rng(4).normal(50, 10, (30, 1000))
    ((low, high),) = intervals.of_grouped_quantiles(values.tolist(), [0.5])
    assert low is not None and high is not None
    assert 49 < low < 50 < high < 51


def test_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(9).normal(5, 1, 20).tolist()
    assert intervals.of_mean(values) == intervals.of_mean(values)
