"""Summaries of the requests of a profile."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.measuring import figures, intervals
from models_app.domain.measuring.figures import Sample, of_stage, remark


def sample(number: int = 0, **fields: object) -> Sample:
    given: dict[str, object] = {
        "ok": True,
        "error": "",
        "prompt_tokens": 20,
        "cached_tokens": 0,
        "completion_tokens": 11,
        "ttft_ms": 100.0,
        "e2el_ms": 600.0,
        "gaps": [50.0] * 10,
    }
    return Sample(number=number, **(given | fields))  # type: ignore[arg-type]


def test_the_figures_of_a_request_are_those_of_the_field() -> None:
    one = sample()
    assert one.tpot_ms == 50.0
    assert one.generation_tokens_per_second == 20.0
    assert one.prompt_tokens_per_second == 200.0


@pytest.mark.parametrize(
    ("fields", "figure"),
    [
        ({"completion_tokens": 1}, "tpot_ms"),
        ({"completion_tokens": None}, "tpot_ms"),
        ({"ttft_ms": None}, "tpot_ms"),
        ({"ok": False}, "tpot_ms"),
        ({"ok": False}, "prompt_tokens_per_second"),
        ({"prompt_tokens": None}, "prompt_tokens_per_second"),
        ({"cached_tokens": 20}, "prompt_tokens_per_second"),
        ({"e2el_ms": 100.0}, "generation_tokens_per_second"),
    ],
)
def test_what_a_request_cannot_tell_is_none(fields: dict[str, Any], figure: str) -> None:
    assert getattr(sample(**fields), figure) is None


def test_cached_tokens_were_not_computed() -> None:
    assert sample(cached_tokens=10).prompt_tokens_per_second == 100.0


def test_a_stage_counts_failures_and_times_the_rest() -> None:
    samples = [
        sample(0),
        sample(1, started_ms=400.0),
        sample(2, ok=False, e2el_ms=5.0, completion_tokens=None),
    ]
    found = figures.of_stage(samples, concurrency=2)
    assert (found["requests"], found["succeeded"], found["success_rate"]) == (3, 2, 0.6667)
    assert found["seconds"] == 1.0
    assert (found["request_throughput"], found["output_throughput"]) == (2.0, 22.0)
    assert found["total_token_throughput"] == 62.0
    assert (found["itl_ms"]["n"], found["itl_ms"]["p99"]) == (20, 50.0)
    assert found["e2el_ms"]["p50"] == 600.0


def test_a_stage_has_every_figure() -> None:
    samples = [
        sample(0, prompt_tokens=None, cached_tokens=None, completion_tokens=None, e2el_ms=236.5678, gaps=[]),
        sample(1, cached_tokens=5, started_ms=1000.0, e2el_ms=236.5678, gaps=[3.0, 4.0]),
        sample(2, ok=False, prompt_tokens=99, cached_tokens=99, completion_tokens=99, gaps=[1000.0]),
    ]
    found = figures.of_stage(samples, concurrency=3)
    points = {name: found.pop(name) for name in ("itl_ms", *figures.FIGURES)}
    assert found == {
        "concurrency": 3,
        "requests": 3,
        "succeeded": 2,
        "success_rate": 0.6667,
        "seconds": 1.237,
        "prompt_tokens": 20,
        "cached_tokens": 5,
        "completion_tokens": 11,
        "request_throughput": 1.617,
        "output_throughput": 8.896,
        "total_token_throughput": 25.069,
        "bunched": 0,
    }
    unknown = dict.fromkeys(("mean", "p50", "p95", "p99"), [None, None])
    assert points["itl_ms"] == {"n": 2, "mean": 3.5, "p50": 3.0, "p95": 4.0, "p99": 4.0, "ci": unknown}
    assert points["e2el_ms"] == {"n": 2} | dict.fromkeys(("mean", "p50", "p95", "p99"), 236.568) | {
        "ci": unknown | dict.fromkeys(("p95", "p99"), [236.568, None])
    }
    assert points["prompt_tokens_per_second"]["p50"] == 150.0


def test_a_mean_of_groups_has_the_interval_of_their_means() -> None:
    groups = [[1.0, 3.0], [5.0], [], [6.0, 8.0]]
    low, high = intervals.of_mean([2.0, 5.0, 7.0])
    assert low is not None and high is not None
    found = figures.of_stage([sample(gaps=gaps) for gaps in groups], concurrency=1)["itl_ms"]
    assert found["ci"]["mean"] == [round(low, 3), round(high, 3)]
    ends = intervals.of_grouped_quantiles(groups, [0.5, 0.95, 0.99])
    assert [found["ci"][name] for name in ("p50", "p95", "p99")] == [list(end) for end in ends]
    ends = figures.summarise([2.0, 5.0, 7.0])["ci"]
    assert ends == {"mean": found["ci"]["mean"], "p50": [None, None], "p95": [5.0, None], "p99": [5.0, None]}


def test_percentiles_are_values_that_did_occur() -> None:
    found = figures.summarise([float(n) for n in range(100, 0, -1)])
    points = {name: found[name] for name in ("n", "p50", "p95", "p99", "mean")}
    assert points == {"n": 100, "p50": 50.0, "p95": 95.0, "p99": 99.0, "mean": 50.5}
    assert found["ci"]["p50"] == [40.0, 61.0]
    assert found["ci"]["p99"] == [97.0, None]


def test_nothing_has_no_summary() -> None:
    found = figures.of_stage([], concurrency=1)
    assert found["success_rate"] is found["request_throughput"] is found["ttft_ms"]["p50"] is None
    assert found["itl_ms"]["ci"]["p50"] == [None, None]


@pytest.mark.parametrize("e2el", [99.0, 100.0, 100.4])
def test_tokens_that_came_together_have_no_speed(e2el: float) -> None:
    bunched = sample(e2el_ms=e2el, gaps=[0.0] * 10)
    assert bunched.bunched
    assert (bunched.tpot_ms, bunched.generation_tokens_per_second) == (None, None)
    stage = of_stage([bunched, sample(1)], concurrency=1)
    assert (stage["bunched"], stage["itl_ms"]["n"], stage["itl_ms"]["mean"]) == (1, 10, 50.0)
    assert stage["generation_tokens_per_second"]["n"] == 1
    assert remark(stage) == "The tokens of 1 of 2 answers came together: they have no speed between tokens."
    assert remark(of_stage([sample()], concurrency=1)) == remark({}) == ""


def test_fast_tokens_that_came_one_by_one_have_a_speed() -> None:
    assert sample(e2el_ms=100.6).generation_tokens_per_second == pytest.approx(16_667, rel=1e-3)
