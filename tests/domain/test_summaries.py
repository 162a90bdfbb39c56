"""Few numbers that stand for many."""

from __future__ import annotations

from models_app.domain.summaries import summarise


def test_percentiles_are_values_that_did_occur() -> None:
    found = summarise([float(n) for n in range(100, 0, -1)])
    assert found == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "mean": 50.5}


def test_one_value_stands_for_itself() -> None:
    assert set(summarise([1.23456]).values()) == {1.235}


def test_nothing_has_no_summary() -> None:
    assert set(summarise([]).values()) == {None}
