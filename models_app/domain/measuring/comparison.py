"""Tests whether two measurements differ by more than chance explains.

The hypothesis for each figure of each stage is that the ratio of the geometric means is 1. It is tested by a
permutation test of Welch's statistic on logarithms, which assumes only that without a difference the requests of both
runs are exchangeable. All p-values of one comparison are corrected together by Holm's method: the chance that a
comparison of two equal runs finds any difference stays below 5 %. A difference must also be large enough to matter: two
runs of the same model at different times differ by a few percent, because the machine's condition changes, and no test
over the requests within a run can detect that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from models_app.domain.measuring import intervals
from models_app.domain.measuring.figures import Sample, rounded, values_of
from models_app.domain.measuring.intervals import Floats

SIGNIFICANCE = 0.05
# Five against five have 252 permutations: with fewer, nothing is significant after the correction.
FEWEST = 5
# The smallest possible p-value is one in this many; it stays significant after Holm's correction of 40 figures.
_PERMUTATIONS = 20_000
_AT_ONCE = 2_000
# Replaces durations that a clock rounded to 0.
_LEAST = 1e-6

# Durations: more is worse. The speeds of a profile are their reciprocals and would be tested twice.
COMPARED = ("ttft_ms", "tpot_ms", "e2el_ms")
SUCCESS = "success_rate"


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"
    NO_DIFFERENCE_SHOWN = "no_difference_shown"
    NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, slots=True)
class Contrast:
    """One figure of one stage, baseline against candidate.

    baseline, candidate  geometric means; of success_rate, the rates
    ratio                candidate by baseline, with the ends of its 95 % interval
    p                    the probability of so large a difference by chance; `p_adjusted` for all figures together
    """

    concurrency: int
    figure: str
    baseline: float | None
    candidate: float | None
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None = None
    verdict: Verdict = Verdict.NOT_ENOUGH_DATA

    def represent(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": str(self.verdict)}


Stages = Mapping[int, Sequence[Sample]]
"""The samples of a run by their stage's concurrency."""


def compare(baseline: Stages, candidates: Sequence[Stages], *, tolerance: float) -> list[list[Contrast]]:
    """The contrasts of each candidate with the baseline, in stages of the same concurrency, corrected together.

    tolerance  the smallest difference that counts, as a share: 0.1 is a tenth
    """
    found = [
        [
            _contrast(concurrency, figure, baseline[concurrency], candidate[concurrency])
            for concurrency in sorted(baseline.keys() & candidate.keys())
            for figure in (*COMPARED, SUCCESS)
        ]
        for candidate in candidates
    ]
    adjusted = iter(holm([item.p for contrasts in found for item in contrasts]))
    return [[_judged(item, next(adjusted), tolerance) for item in contrasts] for contrasts in found]


def overall(contrasts: Sequence[Contrast]) -> Verdict:
    """The verdict of all contrasts together."""
    verdicts = {item.verdict for item in contrasts}
    if {Verdict.BETTER, Verdict.WORSE} <= verdicts:
        return Verdict.MIXED
    for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.NO_DIFFERENCE_SHOWN):
        if verdict in verdicts:
            return verdict
    return Verdict.NOT_ENOUGH_DATA


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None stays None and is not counted."""
    order = sorted((p, place) for place, p in enumerate(probabilities) if p is not None)
    adjusted: list[float | None] = [None] * len(probabilities)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[place] = highest
    return adjusted


def _contrast(concurrency: int, figure: str, before: Sequence[Sample], after: Sequence[Sample]) -> Contrast:
    if figure == SUCCESS:
        return _of_success(concurrency, before, after)
    old, new = (_logs(values_of(samples, figure)) for samples in (before, after))
    low, high = None, None
    p = ratio = None
    if min(old.size, new.size) >= FEWEST:
        p = permutation_p(old, new)
        low, high = (_exp(end) for end in intervals.of_log_ratio(old, new))
    if old.size and new.size:
        ratio = _exp(float(new.mean() - old.mean()))
    first, second = (_exp(float(logs.mean())) if logs.size else None for logs in (old, new))
    return Contrast(concurrency, figure, first, second, ratio, low, high, p)


def _of_success(concurrency: int, before: Sequence[Sample], after: Sequence[Sample]) -> Contrast:
    good = [sum(sample.ok for sample in samples) for samples in (before, after)]
    old, new = good[0] / len(before), good[1] / len(after)
    enough = min(len(before), len(after)) >= FEWEST
    p = exact_p(good[0], len(before), good[1], len(after)) if enough else None
    ratio = rounded(new / old) if old else None
    return Contrast(concurrency, SUCCESS, rounded(old), rounded(new), ratio, None, None, p)


def _judged(contrast: Contrast, adjusted: float | None, tolerance: float) -> Contrast:
    verdict = Verdict.NOT_ENOUGH_DATA if adjusted is None else Verdict.NO_DIFFERENCE_SHOWN
    if adjusted is not None and adjusted < SIGNIFICANCE and _matters(contrast.ratio, tolerance):
        more = contrast.ratio is None or contrast.ratio > 1
        verdict = Verdict.BETTER if more == (contrast.figure == SUCCESS) else Verdict.WORSE
    return replace(contrast, p_adjusted=adjusted, verdict=verdict)


def _matters(ratio: float | None, tolerance: float) -> bool:
    """Whether a difference counts; without a ratio, the baseline is 0. Figures that round to the same are equal."""
    return ratio is None or (ratio != 1 and abs(math.log(max(ratio, _LEAST))) >= math.log1p(tolerance))


def _logs(values: Sequence[float]) -> Floats:
    logs: Floats = np.log(np.maximum(values, _LEAST))
    return logs


def _exp(value: float | None) -> float | None:
    return None if value is None else round(math.exp(value), 4)


def permutation_p(before: Floats, after: Floats) -> float:
    """The two-sided p-value of Welch's statistic, which stays valid where the variances differ."""
    together = np.concatenate([before, after])
    if np.ptp(together) == 0:
        return 1.0
    seen = float(_welch(together[None, :], before.size)[0])
    random = intervals.generator()
    as_large = 0
    for _ in range(_PERMUTATIONS // _AT_ONCE):
        shuffled = random.permuted(np.broadcast_to(together, (_AT_ONCE, together.size)), axis=1)
        # The statistic of the same split in another order can differ in its last bits.
        as_large += int(np.count_nonzero(_welch(shuffled, before.size) >= seen * (1 - 1e-9)))
    return (as_large + 1) / (_PERMUTATIONS + 1)


def _welch(rows: Floats, first: int) -> Floats:
    """The absolute statistic of each row, whose first values are one side; infinite where both variances are 0."""
    old, new = rows[:, :first], rows[:, first:]
    apart = np.abs(new.mean(axis=1) - old.mean(axis=1))
    error = np.sqrt(old.var(axis=1, ddof=1) / old.shape[1] + new.var(axis=1, ddof=1) / new.shape[1])
    statistic: Floats = np.divide(apart, error, out=np.where(apart > 0, np.inf, 0.0), where=error > 0)
    return statistic


def exact_p(good: int, of: int, good_after: int, of_after: int) -> float:
    """The two-sided p-value of Fisher's exact test of two shares."""
    successes, total = good + good_after, of + of_after

    def chance(count: int) -> float:
        ways = math.comb(of, count) * math.comb(of_after, successes - count)
        return ways / math.comb(total, successes)

    possible = range(min(of, successes) + 1)
    seen = chance(good) * (1 + 1e-9)
    return min(1.0, sum(p for p in map(chance, possible) if p <= seen))
