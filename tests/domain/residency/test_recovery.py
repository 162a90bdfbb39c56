"""The decisions to restart a model, or to give it up."""

from __future__ import annotations

import pytest

from models_app.domain.residency.recovery import next_attempt, remembered, rest

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


@pytest.mark.parametrize(
    ("times", "seconds"),
    [(0, 60), (1, 60), (2, 120), (3, 240), (4, 480), (5, 960), (6, 1800), (7, 1800), (10**6, 1800)],
)
def test_a_model_that_was_given_up_rests_for_longer_each_time(times: int, seconds: float) -> None:
    assert rest(times) == seconds


def test_deaths_before_the_clock_was_set_back_count_as_now() -> None:
    assert remembered([NOW + 5000, NOW - 10], now=NOW) == [NOW - 10, NOW]
    assert next_attempt([NOW + age for age in range(5)], refusals=0, now=NOW).pause is None


@pytest.mark.parametrize(("age", "pause"), [(300, None), (300.5, 8.0)])
def test_a_model_is_given_up_after_five_deaths_in_five_minutes(age: float, pause: float | None) -> None:
    deaths = [NOW - age, NOW - 20, NOW - 15, NOW - 10, NOW]
    assert next_attempt(deaths, refusals=0, now=NOW).pause == pause


@pytest.mark.parametrize(("age", "kept"), [(300, True), (300.5, False)])
def test_a_quiet_time_is_longer_than_the_window(age: float, kept: bool) -> None:
    assert remembered([NOW - age], now=NOW) == ([NOW - age] if kept else [])
    assert remembered([NOW - 10 - age, NOW - 10], now=NOW) == [*([NOW - 10 - age] if kept else []), NOW - 10]
