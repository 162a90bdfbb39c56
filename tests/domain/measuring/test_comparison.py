"""A comparison finds real differences, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from models_app.domain.measuring import comparison
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
    ],
)
def test_the_exact_test_of_shares(counts: tuple[int, int, int, int], p: float) -> None:
    assert comparison.exact_p(*counts) == pytest.approx(p, abs=1e-4)


def test_values_that_do_not_scatter_can_differ() -> None:
    assert comparison.permutation_p(np.zeros(10), np.ones(10)) < 0.001
    assert comparison.permutation_p(np.ones(10), np.ones(10)) == 1.0


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
