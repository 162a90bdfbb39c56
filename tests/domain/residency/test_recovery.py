"""The decisions to restart a model, or to give it up."""

from __future__ import annotations

import pytest

from models_app.domain.residency.recovery import next_attempt, remembered

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("ages", "refusals", "pause"),
    [
        ([0], 0, 0.0),  # a healthy model: at once
        ([10, 0], 0, 1.0),
        ([20, 10, 0], 0, 2.0),
        ([30, 20, 10, 0], 0, 4.0),
        ([40, 30, 20, 10, 0], 0, None),  # the fifth within five minutes
        ([301, 30, 20, 10, 0], 0, 8.0),  # the fifth, but not within five minutes
        ([1200, 900, 600, 300, 0], 0, 8.0),  # never quiet for five minutes: the pause still grows
        ([2000, 1500, 1000, 500, 0], 0, 0.0),  # each after a quiet time
        ([900, 0], 0, 0.0),
        ([0], 1, 1.0),  # refused for lack of memory
        ([0], 2, 2.0),
        ([0], 7, 60.0),
        ([0], 5000, 60.0),  # and never given up for it
        ([], 0, 0.0),
        ([], 1, 0.0),
        ([], 2, 1.0),
    ],
)
def test_the_pause_grows_with_the_trouble(ages: list[float], refusals: int, pause: float | None) -> None:
    deaths = [NOW - age for age in ages]
    assert next_attempt(deaths, refusals=refusals, now=NOW).pause == pause


@pytest.mark.parametrize(
    ("ages", "kept"),
    [
        ([], []),
        ([0], [0]),
        ([299, 10], [299, 10]),
        ([301], []),
        ([700, 301, 10], [301, 10]),
        ([10, 200, 100], [200, 100, 10]),
    ],
)
def test_deaths_before_a_quiet_time_are_forgotten(ages: list[float], kept: list[float]) -> None:
    assert remembered([NOW - age for age in ages], now=NOW) == [NOW - age for age in kept]
