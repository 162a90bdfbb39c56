"""The statistics of `models_app.domain.measuring` against those of scipy, on generated data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from models_app.domain.measuring import comparison, figures, histogram, intervals, performance
from models_app.domain.measuring.histogram import GROWTH, Histogram
from models_app.domain.measuring.intervals import Floats, Interval

# A comparison over many draws: it runs in `make test`, not in the developers' loop.
pytestmark = pytest.mark.wide

probabilities = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6)


def draw(seed: int, count: int, kind: str = "normal") -> Floats:
    random = np.random.default_rng(seed)
    values: Floats = random.lognormal(0, 0.5, count) if kind == "lognormal" else random.normal(50, 10, count)
    return values


def distance(found: Interval, expected: Sequence[float]) -> float:
    """The larger distance of two ends, as a share of the expected interval's width."""
    low, high = found
    assert low is not None and high is not None
    width = float(expected[1] - expected[0])
    return max(abs(low - float(expected[0])), abs(high - float(expected[1]))) / width


# Intervals


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_of_a_quantile_is_scipys(fraction: float) -> None:
    for count in range(1, 300):
        values = np.arange(1.0, count + 1)
        interval = stats.quantile_test(values, q=0, p=fraction).confidence_interval(intervals.CONFIDENCE)
        expected = tuple(None if math.isnan(end) else float(end) for end in interval)
        assert intervals.of_quantile(values.tolist(), fraction) == expected, count


def test_the_binomial_distribution_is_scipys() -> None:
    for count, chance in itertools.product((1, 7, 100, 5000), (0.01, 0.5, 0.99)):
        expected = stats.binom.cdf(np.arange(count), count, chance)
        assert intervals._binomial_cdf(count, chance) == pytest.approx(expected, abs=1e-9)


def bootstrap_t(sample: Floats) -> tuple[float, float]:
    """The studentised bootstrap, from scipy's resamples of the ratio."""
    center, error = sample.mean(), stats.sem(sample)

    def ratio(drawn: Floats, axis: int = -1) -> Any:
        return (drawn.mean(axis=axis) - center) / stats.sem(drawn, axis=axis)

    ends = stats.bootstrap((sample,), ratio, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    return center - ends.high * error, center - ends.low * error


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
@pytest.mark.parametrize("count", [20, 60, 200])
def test_the_interval_of_a_mean_is_that_of_scipys_bootstrap(kind: str, count: int) -> None:
    """2000 resamples against 20 000 of another seed: the ends differ by up to a tenth of the width."""
    for seed in range(3):
        sample = draw(seed, count, kind)
        assert distance(intervals.of_mean(sample.tolist()), bootstrap_t(sample)) < 0.1


@pytest.mark.parametrize(("count", "most"), [(30, 0.15), (100, 0.07), (400, 0.06)])
def test_the_interval_of_the_mean_of_normal_values_is_close_to_students(count: int, most: float) -> None:
    for seed in range(10):
        sample = draw(seed, count)
        expected = stats.ttest_1samp(sample, 0).confidence_interval()
        assert distance(intervals.of_mean(sample.tolist()), expected) < most


@pytest.mark.parametrize(("first", "second", "most"), [(20, 30, 0.15), (100, 60, 0.07), (400, 400, 0.06)])
def test_the_interval_of_a_ratio_is_close_to_welchs(first: int, second: int, most: float) -> None:
    for seed in range(10):
        before, after = draw(seed, first) / 50, draw(seed + 100, second) / 25
        expected = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
        assert distance(intervals.of_log_ratio(before, after), expected) < most


def test_the_interval_of_grouped_values_is_that_of_scipys_bootstrap_of_groups() -> None:
    random = np.random.default_rng(3)
    groups = [random.normal(center, 1, 40) for center in random.normal(20, 3, 30)]

    def median(*places: Any) -> Any:
        return np.quantile(np.concatenate([groups[int(place)] for place in np.ravel(places)]), 0.5)

    expected = stats.bootstrap(
        (np.arange(len(groups)),), median, method="percentile", vectorized=False, n_resamples=2000, rng=1
    ).confidence_interval
    ((low, high),) = intervals.of_grouped_quantiles([group.tolist() for group in groups], [0.5])
    assert distance((low, high), expected) < 0.1


# Comparison


def welch(before: Floats, after: Floats, axis: int = -1) -> Any:
    return stats.ttest_ind(before, after, equal_var=False, axis=axis).statistic


@pytest.mark.parametrize("shift", [0.0, 5.0, 10.0, 25.0])
@pytest.mark.parametrize(("first", "second"), [(5, 5), (5, 7), (8, 8)])
def test_the_permutation_test_is_close_to_scipys_exact_one(first: int, second: int, shift: float) -> None:
    """scipy tries every split; 20 000 random ones scatter around its probability as a binomial does.

    scipy doubles the smaller of the two tails, the absolute statistic counts both: with sides of different sizes the
    numbers differ, so scipy gets the absolute statistic too.
    """
    for seed in range(3):
        before, after = draw(seed, first), draw(seed + 50, second) + shift
        expected = stats.permutation_test(
            (before, after),
            lambda old, new, axis=-1: np.abs(welch(old, new, axis)),
            vectorized=True,
            n_resamples=math.inf,
            alternative="greater",
        ).pvalue
        scatter = math.sqrt(expected * (1 - expected) / comparison._PERMUTATIONS)
        found = comparison.permutation_p(before, after)
        assert found == pytest.approx(expected, abs=4.5 * scatter + 2 / comparison._PERMUTATIONS)


@pytest.mark.parametrize("shift", [0.0, 3.0, 6.0])
def test_the_permutation_test_of_many_normal_values_is_close_to_welchs(shift: float) -> None:
    for seed in range(5):
        before, after = draw(seed, 100), draw(seed + 50, 80) + shift
        expected = stats.ttest_ind(before, after, equal_var=False).pvalue
        assert comparison.permutation_p(before, after) == pytest.approx(expected, rel=0.1, abs=0.01)


def test_the_statistic_is_welchs() -> None:
    before, after = draw(1, 9), draw(2, 14) * 2
    found = comparison._welch(np.concatenate([before, after])[None, :], before.size)
    assert found[0] == pytest.approx(abs(welch(before, after)))


def test_the_exact_test_of_shares_is_scipys() -> None:
    for of, of_after in ((1, 1), (5, 8), (12, 12), (30, 17)):
        for good, good_after in itertools.product(range(of + 1), range(of_after + 1)):
            expected = stats.fisher_exact([[good, of - good], [good_after, of_after - good_after]]).pvalue
            found = comparison.exact_p(good, of, good_after, of_after)
            assert found == pytest.approx(expected, abs=1e-9), (good, of, good_after, of_after)


@given(probabilities)
def test_holms_correction_is_the_closed_test_with_bonferronis(values: list[float]) -> None:
    """By its definition: the largest Bonferroni probability of the sets that hold the hypothesis."""
    places = range(len(values))
    sets = [chosen for size in places for chosen in itertools.combinations(places, size + 1)]
    expected = [
        max(min(1.0, len(chosen) * min(values[other] for other in chosen)) for chosen in sets if place in chosen)
        for place in places
    ]
    assert comparison.holm(values) == pytest.approx(expected)


@given(probabilities)
def test_holms_correction_is_never_weaker_than_that_of_false_discoveries(values: list[float]) -> None:
    weaker = stats.false_discovery_control(values)
    for found, least in zip(comparison.holm(values), weaker, strict=True):
        assert found is not None and found >= least - 1e-12


# Figures


@pytest.mark.parametrize("fraction", [*figures.FRACTIONS.values()])
def test_percentiles_are_scipys_inverted_distribution(fraction: float) -> None:
    for count in range(1, 400):
        ordered = sorted(draw(count, count).tolist())
        assert figures.nearest_rank(ordered, fraction) == stats.quantile(ordered, fraction, method="inverted_cdf")


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_percentiles_of_a_histogram_are_within_their_documented_error_of_scipys(kind: str) -> None:
    for count, fraction in itertools.product((1, 10, 1000), figures.FRACTIONS.values()):
        values = np.abs(draw(count, count, kind)) + 0.01
        made: Histogram = {}
        for value in values.tolist():
            histogram.add(made, value)
        expected = stats.quantile(values, fraction, method="inverted_cdf")
        assert histogram.quantile(made, fraction) == pytest.approx(expected, rel=GROWTH**0.5 - 1 + 1e-6)


def test_the_summary_of_values_is_scipys() -> None:
    values = draw(4, 150)
    found, expected = figures.summarise(values.tolist()), stats.describe(values)
    assert found["n"] == expected.nobs
    assert found["mean"] == pytest.approx(expected.mean, abs=1e-3)


def test_the_weighted_average_is_scipys_filter() -> None:
    """The mean of a batch of equal values has the same effect as the values one by one."""
    batches = [[5.0] * 3, [9.0] * 10, [2.0]]
    average = 0.0
    for batch in batches:
        average += performance.weight(len(batch)) * (batch[0] - average)
    expected = signal.lfilter([performance.ALPHA], [1, performance.ALPHA - 1], list(itertools.chain(*batches)))
    assert average == pytest.approx(expected[-1])
