"""Summaries of the requests of a profile, under the usual names.

`ttft`, `tpot`, `itl` and `e2el` are those of `vllm bench serve`; `prompt_tokens_per_second` and
`generation_tokens_per_second` are pp and tg of `llama-bench`. Durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from statistics import fmean
from typing import Any

from models_app.domain.measuring import intervals
from models_app.domain.measuring.intervals import Interval

# Milliseconds. Tokens of one answer that come faster were not sent as they were made: some servers, and networks, send
# them together. What is then between them is no speed.
FASTEST_TPOT_MS = 0.05

FRACTIONS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    stage       the index of its stage in the run, from 0
    started_ms  when it was sent, since the start of its stage
    gaps        milliseconds between the pieces of the answer
    """

    number: int
    ok: bool
    error: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    ttft_ms: float | None
    e2el_ms: float
    stage: int = 0
    started_ms: float = 0.0
    gaps: Sequence[float] = field(default=())

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first, at which the measurement starts; None if they came together."""
        return None if self.bunched else self._tpot()

    @property
    def bunched(self) -> bool:
        """Whether the tokens after the first came together."""
        found = self._tpot()
        return found is not None and found < FASTEST_TPOT_MS

    def _tpot(self) -> float | None:
        tokens = (self.completion_tokens or 0) - 1
        if not self.ok or self.ttft_ms is None or tokens < 1:
            return None
        return max(0.0, self.e2el_ms - self.ttft_ms) / tokens

    @property
    def generation_tokens_per_second(self) -> float | None:
        return 1000 / self.tpot_ms if self.tpot_ms else None

    @property
    def prompt_tokens_per_second(self) -> float | None:
        """The speed of prompt tokens that were computed, not read from a cache."""
        if not self.ok or not self.ttft_ms or self.prompt_tokens is None:
            return None
        computed = self.prompt_tokens - (self.cached_tokens or 0)
        return computed * 1000 / self.ttft_ms if computed > 0 else None


FIGURES: Mapping[str, Callable[[Sample], float | None]] = {
    "ttft_ms": lambda sample: sample.ttft_ms,
    "tpot_ms": lambda sample: sample.tpot_ms,
    "e2el_ms": lambda sample: sample.e2el_ms,
    "prompt_tokens_per_second": lambda sample: sample.prompt_tokens_per_second,
    "generation_tokens_per_second": lambda sample: sample.generation_tokens_per_second,
}
"""The figures with one value per request."""


def values_of(samples: Sequence[Sample], figure: str) -> list[float]:
    """One figure of the requests that succeeded and have it."""
    read = FIGURES[figure]
    found = (read(sample) for sample in samples if sample.ok)
    return [value for value in found if value is not None]


def of_stage(samples: Sequence[Sample], *, concurrency: int) -> dict[str, Any]:
    """The summary of one stage; `seconds` from its first request to the end of its last."""
    seconds = max((sample.started_ms + sample.e2el_ms for sample in samples), default=0.0) / 1000
    good = [sample for sample in samples if sample.ok]
    prompt = sum(sample.prompt_tokens or 0 for sample in good)
    written = sum(sample.completion_tokens or 0 for sample in good)
    return {
        "concurrency": concurrency,
        "requests": len(samples),
        "succeeded": len(good),
        "success_rate": success_rate(samples),
        "seconds": round(seconds, 3),
        "prompt_tokens": prompt,
        "cached_tokens": sum(sample.cached_tokens or 0 for sample in good),
        "completion_tokens": written,
        "request_throughput": _per_second(len(good), seconds),
        "output_throughput": _per_second(written, seconds),
        "total_token_throughput": _per_second(prompt + written, seconds),
        "bunched": sum(sample.bunched for sample in good),
        "itl_ms": _of_groups([sample.gaps for sample in good if not sample.bunched]),
    } | {figure: summarise(values_of(good, figure)) for figure in FIGURES}


def remark(stage: Mapping[str, Any]) -> str:
    """A sentence about the figures that a stage lacks; empty if it lacks none."""
    # Stages of older versions have no count.
    count = stage.get("bunched", 0)
    if not count:
        return ""
    return f"The tokens of {count} of {stage['succeeded']} answers came together: they have no speed between tokens."


def success_rate(samples: Sequence[Sample]) -> float | None:
    return round(sum(s.ok for s in samples) / len(samples), 4) if samples else None


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """`n`, `mean`, `p50`, `p95`, `p99`, and `ci`: for each of these the two ends of its 95 % interval."""
    ordered = sorted(values)
    ci = {"mean": _ends(intervals.of_mean(ordered))}
    for name, fraction in FRACTIONS.items():
        ci[name] = _ends(intervals.of_quantile(ordered, fraction))
    return _points(ordered) | {"ci": ci}


def _of_groups(groups: Sequence[Sequence[float]]) -> dict[str, Any]:
    """As `summarise`, for values that are correlated within groups."""
    ordered = sorted(chain.from_iterable(groups))
    found = intervals.of_grouped_quantiles(groups, list(FRACTIONS.values()))
    ci = {"mean": _ends(intervals.of_mean([fmean(group) for group in groups if group]))}
    ci |= {name: _ends(interval) for name, interval in zip(FRACTIONS, found, strict=True)}
    return _points(ordered) | {"ci": ci}


def _points(ordered: Sequence[float]) -> dict[str, Any]:
    points: dict[str, Any] = {"n": len(ordered)}
    points["mean"] = rounded(fmean(ordered) if ordered else None)
    for name, fraction in FRACTIONS.items():
        points[name] = rounded(nearest_rank(ordered, fraction))
    return points


def nearest_rank(ordered: Sequence[float], fraction: float) -> float | None:
    """The nearest-rank percentile, which is one of the values."""
    return ordered[max(1, ceil(fraction * len(ordered))) - 1] if ordered else None


def _ends(interval: Interval) -> list[float | None]:
    return [rounded(end) for end in interval]


def rounded(value: float | None) -> float | None:
    """Rounds to a microsecond, which is below the resolution of a measurement across processes."""
    return None if value is None else round(value, 3)


def _per_second(count: int, seconds: float) -> float | None:
    return round(count / seconds, 3) if seconds else None
