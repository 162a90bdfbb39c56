"""95 % confidence intervals without assumptions about the distribution of the values.

Every function is deterministic: the resamples come from a generator with a fixed seed, so that the same samples always
give the same interval. An end of an interval is None where the sample is too small to bound it: 20 values give no upper
bound of the 99th percentile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
Interval = tuple[float | None, float | None]
Floats = npt.NDArray[np.float64]

UNKNOWN: Interval = (None, None)
# The ends of an interval move by about 1 % of its width from one seed to another.
RESAMPLES = 2000
_RESAMPLES_OF_GROUPS = RESAMPLES // 2
# With fewer values the studentised bootstrap has too many resamples without variance to be meaningful.
FEWEST = 3
# The most values of all resamples of one interval together: bounds the time to a few seconds, and the memory.
_MOST_VALUES = 20_000_000
_FEWEST_RESAMPLES = 100
_SEED = 20_240_229


def generator() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def of_quantile(values: Sequence[float], fraction: float) -> Interval:
    """The interval by order statistics: ranks between which the quantile lies with 95 %, for any distribution."""
    ordered = sorted(values)
    count = len(ordered)
    below = _binomial_cdf(count, fraction)
    tail = (1 - CONFIDENCE) / 2
    # P(fewer than r values are below the quantile) is the risk that the r-th value is above it.
    low = int(np.searchsorted(below, tail))
    high = int(np.searchsorted(below, 1 - tail)) + 1
    return (
        ordered[low - 1] if low >= 1 else None,
        ordered[high - 1] if high <= count else None,
    )


def _binomial_cdf(count: int, chance: float) -> Floats:
    """P(X <= k) for k = 0 … count - 1; by logarithms, because the coefficients outgrow a float."""
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(chance)
        + (count - k) * math.log1p(-chance)
        for k in range(count)
    ]
    return np.cumsum(np.exp(np.array(logs)))


def of_mean(values: Sequence[float]) -> Interval:
    """The interval by the studentised bootstrap: for eight skewed values its coverage is still above 90 %."""
    if len(values) < FEWEST:
        return UNKNOWN
    sample: Floats = np.asarray(values)
    error = _standard_error(sample[None, :])[0]
    means, errors = _resampled(sample, generator())
    return studentised(float(sample.mean()), float(error), means, errors)


def studentised(center: float, error: float, means: Floats, errors: Floats) -> Interval:
    """The interval around `center` from resampled means and their standard errors."""
    if error == 0:
        return center, center
    spread = errors > 0
    ratios = (means[spread] - center) / errors[spread]
    if ratios.size < _FEWEST_RESAMPLES:
        return UNKNOWN
    tail = (1 - CONFIDENCE) / 2
    high, low = np.quantile(ratios, [tail, 1 - tail])
    return center - float(low) * error, center - float(high) * error


def of_log_ratio(baseline: Floats, candidate: Floats) -> Interval:
    """The interval of the difference of two means; of logarithms, that of the log ratio of geometric means."""
    random = generator()
    before, errors_before = _resampled(baseline, random)
    after, errors_after = _resampled(candidate, random)
    error = math.hypot(float(_standard_error(baseline[None, :])[0]), float(_standard_error(candidate[None, :])[0]))
    center = float(candidate.mean() - baseline.mean())
    return studentised(center, error, after - before, np.hypot(errors_before, errors_after))


def _resampled(sample: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Means and standard errors of resamples."""
    count = min(RESAMPLES, max(_FEWEST_RESAMPLES, _MOST_VALUES // sample.size))
    drawn = sample[random.integers(0, sample.size, (count, sample.size))]
    return drawn.mean(axis=1), _standard_error(drawn)


def _standard_error(rows: Floats) -> Floats:
    deviation: Floats = rows.std(axis=1, ddof=1)
    return deviation / math.sqrt(rows.shape[1])


def of_grouped_quantiles(groups: Sequence[Sequence[float]], fractions: Sequence[float]) -> list[Interval]:
    """Intervals of quantiles of all values, where the values of a group are correlated: whole groups are resampled.

    The gaps between the tokens of one answer are such a group: they are not independent measurements.
    """
    filled = [np.asarray(group) for group in groups if len(group)]
    if len(filled) < FEWEST:
        return [UNKNOWN for _ in fractions]
    total = sum(group.size for group in filled)
    count = min(_RESAMPLES_OF_GROUPS, max(_FEWEST_RESAMPLES, _MOST_VALUES // total))
    random = generator()
    drawn = np.array(
        [
            np.quantile(np.concatenate([filled[place] for place in places]), fractions)
            for places in random.integers(0, len(filled), (count, len(filled)))
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]
