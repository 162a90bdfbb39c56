"""Summaries of the requests of a profile."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.measuring import figures
from models_app.domain.measuring.figures import Sample


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
