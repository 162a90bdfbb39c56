"""The thresholds of the warnings for operators."""

from __future__ import annotations

import pytest

from models_app.domain.measuring.attention import budget_is_near, is_stuck


@pytest.mark.parametrize(
    ("used", "budget", "near"),
    [(899, 1000, False), (900, 1000, True), (1001, 1000, True), (0, 1, False), (0, 0, False), (5, 0, False)]
    + [(0, None, False), (10**12, None, False)],
)
def test_nine_tenths_of_the_budget_are_near_it(used: int, budget: int | None, near: bool) -> None:
    assert budget_is_near(used=used, budget=budget) is near


@pytest.mark.parametrize(
    ("seconds", "limit", "stuck"),
    [(120, 5, False), (120.1, 5, True), (121, 600, False), (600, 600, False), (600.1, 600, True)],
)
def test_a_load_is_stuck_after_its_own_limit_and_two_minutes(seconds: float, limit: float, stuck: bool) -> None:
    assert is_stuck(seconds=seconds, limit=limit) is stuck
