"""A comparison finds real differences, and no others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models_app.domain.measuring import comparison, intervals
from models_app.domain.measuring.comparison import Contrast, Verdict
from models_app.domain.measuring.figures import Sample


def run(seed: int, count: int, *, factor: float = 1.0, spread: float = 0.1, failed: int = 0) -> list[Sample]:
    """Requests with log-normal durations; `factor` multiplies them."""
    random = np.random.default_rng(seed)
    times = random.lognormal(0, spread, (count, 2)) * factor
    return [
        Sample(
            number=number,
            ok=number >= failed,
            error="",
            prompt_tokens=10,
            cached_tokens=0,
            completion_tokens=11,
            ttft_ms=100 * first,
            e2el_ms=100 * first + 500 * rest,
        )
        for number, (first, rest) in enumerate(times.tolist())
    ]


def verdicts(before: list[Sample], after: list[Sample]) -> dict[str, Verdict]:
    (contrasts,) = comparison.compare({1: before}, [{1: after}], tolerance=0.1)
    return {one.figure: one.verdict for one in contrasts}


@pytest.mark.parametrize(("factor", "expected"), [(1.3, Verdict.WORSE), (0.7, Verdict.BETTER), (1.0, None)])
def test_a_difference_is_found_in_its_direction(factor: float, expected: Verdict | None) -> None:
    found = verdicts(run(1, 20), run(2, 20, factor=factor))
    wanted = expected or Verdict.NO_DIFFERENCE_SHOWN
    assert {found[figure] for figure in comparison.COMPARED} == {wanted}
    assert found["success_rate"] == Verdict.NO_DIFFERENCE_SHOWN


def test_a_difference_too_small_to_matter_is_none() -> None:
    found = verdicts(run(1, 60, spread=0.03), run(2, 60, spread=0.03, factor=1.06))
    assert found["e2el_ms"] == Verdict.NO_DIFFERENCE_SHOWN
    (contrasts,) = comparison.compare(
        {1: run(1, 60, spread=0.03)}, [{1: run(2, 60, spread=0.03, factor=1.06)}], tolerance=0.02
    )
    assert {one.verdict for one in contrasts if one.figure == "e2el_ms"} == {Verdict.WORSE}


def test_few_requests_show_nothing() -> None:
    assert set(verdicts(run(1, 4), run(2, 4, factor=3)).values()) == {Verdict.NOT_ENOUGH_DATA}
    assert verdicts(run(1, 10), run(2, 10, factor=1.5))["e2el_ms"] == Verdict.WORSE


def test_failures_are_compared_too() -> None:
    found = verdicts(run(1, 40), run(2, 40, failed=20))
    assert found["success_rate"] == Verdict.WORSE
    assert verdicts(run(1, 40, failed=40), run(2, 40))["success_rate"] == Verdict.BETTER


@pytest.mark.wide
def test_two_runs_of_one_thing_seldom_differ() -> None:
    """The chance of any difference in a comparison of equal runs is below 5 %, whatever the number of figures."""
    found = 0
    for seed in range(60):
        before, after = ({c: run(1000 * seed + c + more, 10, spread=0.5) for c in (1, 4)} for more in (0, 500))
        (contrasts,) = comparison.compare(before, [after], tolerance=1e-9)
        found += comparison.overall(contrasts) != Verdict.NO_DIFFERENCE_SHOWN
    assert found <= 6, "of 60; more than 6 happen once in 25 such tests that hold 5 %"


def test_only_stages_that_both_have_are_compared() -> None:
    before, after = {1: run(1, 10), 4: run(2, 10)}, {4: run(3, 10), 8: run(4, 10)}
    (contrasts,) = comparison.compare(before, [after], tolerance=0.1)
    assert {one.concurrency for one in contrasts} == {4}
    assert comparison.overall([]) == Verdict.NOT_ENOUGH_DATA


@pytest.mark.parametrize(
    ("probabilities", "adjusted"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.9, 0.6], [1.0, 1.0]),
        ([None, 0.04, None], [None, 0.04, None]),
        ([], []),
    ],
)
def test_holms_correction(probabilities: list[float | None], adjusted: list[float | None]) -> None:
    assert comparison.holm(probabilities) == pytest.approx(adjusted)


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        # Fisher's tea, and a textbook table.
        ((3, 4, 1, 4), 0.4857),
        ((1, 10, 11, 14), 0.0028),
        ((10, 10, 10, 10), 1.0),
        ((0, 5, 5, 5), 0.0079),
        ((2, 5, 5, 7), 0.5581),
        ((0, 3, 2, 7), 1.0),
        ((7, 9, 2, 2), 1.0),
    ],
)
def test_the_exact_test_of_shares(counts: tuple[int, int, int, int], p: float) -> None:
    assert comparison.exact_p(*counts) == pytest.approx(p, abs=1e-4)


def test_a_probability_is_at_most_one() -> None:
    # The sum of all outcomes of these shares exceeds 1 by a rounding error.
    for counts in ((1, 4, 4, 13), (1, 4, 3, 14), (1, 4, 7, 19)):
        assert comparison.exact_p(*counts) == 1.0


def test_welchs_statistic_of_each_row() -> None:
    rows = np.array([[1, 2, 3, 7, 9], [9, 8, 7, 2, 2], [5, 5, 5, 5, 5], [5, 5, 5, 6, 6]], dtype=np.float64)
    expected = [6 / math.sqrt(1 / 3 + 2 / 2), 6 / math.sqrt(1 / 3), 0.0, math.inf]
    assert comparison._welch(rows, 3).tolist() == pytest.approx(expected)


def test_values_that_do_not_scatter_can_differ() -> None:
    assert comparison.permutation_p(np.zeros(10), np.ones(10)) < 0.001
    assert comparison.permutation_p(np.ones(10), np.ones(10)) == 1.0


def timed(times: list[float], *, failed: int = 0) -> list[Sample]:
    """Requests that took these milliseconds, the last tenth of them to the first token; the first ones failed."""
    return [
        Sample(
            number=number,
            ok=number >= failed,
            error="",
            prompt_tokens=10,
            cached_tokens=0,
            completion_tokens=10,
            ttft_ms=time / 10,
            e2el_ms=time,
        )
        for number, time in enumerate(times)
    ]


def test_a_contrast_has_geometric_means_their_ratio_and_its_interval() -> None:
    before, after = [100.0, 200.0, 400.0, 100.0, 800.0], [400.0, 800.0, 1600.0, 400.0, 3200.0]
    (found,) = comparison.compare({2: timed(before)}, [{2: timed(after)}], tolerance=0.1)
    assert [(one.concurrency, one.figure) for one in found] == [
        (2, figure) for figure in ("ttft_ms", "tpot_ms", "e2el_ms", "success_rate")
    ]
    first, pace, whole, rate = found
    mean = (100 * 200 * 400 * 100 * 800) ** 0.2
    assert (whole.baseline, whole.candidate) == pytest.approx((mean, 4 * mean), abs=1e-4)
    assert (first.baseline, first.candidate) == pytest.approx((mean / 10, 4 * mean / 10), abs=1e-4)
    assert (pace.baseline, pace.candidate) == pytest.approx((mean / 10, 4 * mean / 10), abs=1e-4)
    low, high = intervals.of_log_ratio(np.log(before), np.log(after))
    assert low is not None and high is not None
    for one in (first, pace, whole):
        assert one.ratio == 4.0
        assert (one.low, one.high) == (round(math.exp(low), 4), round(math.exp(high), 4))
        assert one.p == comparison.permutation_p(np.log(before), np.log(after))
        assert one.p_adjusted == pytest.approx(4 * one.p)
    assert (rate.baseline, rate.candidate, rate.ratio, rate.low, rate.high, rate.p) == (1.0, 1.0, 1.0, None, None, 1.0)
    assert rate.represent() == {
        "concurrency": 2,
        "figure": "success_rate",
        "baseline": 1.0,
        "candidate": 1.0,
        "ratio": 1.0,
        "low": None,
        "high": None,
        "p": 1.0,
        "p_adjusted": 1.0,
        "verdict": "no_difference_shown",
    }
    assert type(rate.represent()["verdict"]) is str


def test_rates_of_success_are_shares_of_all_requests() -> None:
    before, after = timed([100.0] * 10, failed=2), timed([100.0] * 8, failed=3)
    (found,) = comparison.compare({1: before}, [{1: after}], tolerance=0.1)
    rate = found[-1]
    assert (rate.baseline, rate.candidate, rate.ratio) == (0.8, 0.625, 0.781)
    assert rate.p == comparison.exact_p(8, 10, 5, 8)
    (found,) = comparison.compare({1: timed([100.0] * 6, failed=6)}, [{1: after}], tolerance=0.1)
    assert (found[-1].baseline, found[-1].ratio) == (0.0, None)
    assert (found[0].baseline, found[0].candidate, found[0].ratio, found[0].p) == (None, 10.0, None, None)


def test_an_end_without_a_bound_stays_unknown() -> None:
    assert comparison._exp(None) is None
    assert comparison._exp(0.0) == 1.0


@pytest.mark.parametrize(("before", "after", "enough"), [(4, 9, False), (9, 4, False), (5, 5, True)])
def test_five_requests_of_each_run_are_enough(before: int, after: int, enough: bool) -> None:
    (found,) = comparison.compare(
        {1: timed([100.0] * before)}, [{1: timed([float(90 + number) for number in range(after)])}], tolerance=0.1
    )
    for one in found:
        assert one.baseline is not None and one.candidate is not None and one.ratio is not None
        assert (one.p is not None) is (one.p_adjusted is not None) is enough
        assert (one.verdict != Verdict.NOT_ENOUGH_DATA) is enough


@pytest.mark.parametrize(
    ("figure", "ratio", "tolerance", "adjusted", "verdict"),
    [
        ("e2el_ms", 2.0, 1.0, 0.001, Verdict.WORSE),
        ("e2el_ms", 1.9999, 1.0, 0.001, Verdict.NO_DIFFERENCE_SHOWN),
        ("e2el_ms", 0.5, 1.0, 0.001, Verdict.BETTER),
        ("e2el_ms", 0.5001, 1.0, 0.001, Verdict.NO_DIFFERENCE_SHOWN),
        ("e2el_ms", 2.0, 1.0, 0.0499, Verdict.WORSE),
        ("e2el_ms", 2.0, 1.0, 0.05, Verdict.NO_DIFFERENCE_SHOWN),
        ("e2el_ms", 2.0, 1.0, None, Verdict.NOT_ENOUGH_DATA),
        ("e2el_ms", 1.0001, 0.0, 0.001, Verdict.WORSE),
        ("e2el_ms", 1.0, 0.0, 0.001, Verdict.NO_DIFFERENCE_SHOWN),
        ("success_rate", 1.0, 0.0, 0.001, Verdict.NO_DIFFERENCE_SHOWN),
        ("success_rate", 2.0, 1.0, 0.001, Verdict.BETTER),
        ("success_rate", 0.5, 1.0, 0.001, Verdict.WORSE),
        ("success_rate", 0.0, 1.0, 0.001, Verdict.WORSE),
        ("success_rate", None, 1.0, 0.001, Verdict.BETTER),
    ],
)
def test_a_difference_counts_if_it_is_significant_and_large_enough(
    figure: str, ratio: float | None, tolerance: float, adjusted: float | None, verdict: Verdict
) -> None:
    one = Contrast(1, figure, 1.0, 1.0, ratio, None, None, adjusted)
    judged = comparison._judged(one, adjusted, tolerance)
    assert judged == Contrast(1, figure, 1.0, 1.0, ratio, None, None, adjusted, adjusted, verdict)


def contrast(verdict: Verdict) -> Contrast:
    return Contrast(1, "ttft_ms", 1.0, 1.0, 1.0, None, None, None, None, verdict)


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([Verdict.BETTER, Verdict.WORSE], Verdict.MIXED),
        ([Verdict.NO_DIFFERENCE_SHOWN, Verdict.WORSE], Verdict.WORSE),
        ([Verdict.NO_DIFFERENCE_SHOWN, Verdict.BETTER], Verdict.BETTER),
        ([Verdict.NO_DIFFERENCE_SHOWN, Verdict.NOT_ENOUGH_DATA], Verdict.NO_DIFFERENCE_SHOWN),
        ([Verdict.NOT_ENOUGH_DATA], Verdict.NOT_ENOUGH_DATA),
    ],
)
def test_the_whole_verdict_follows_from_its_parts(parts: list[Verdict], whole: Verdict) -> None:
    assert comparison.overall([contrast(part) for part in parts]) == whole
