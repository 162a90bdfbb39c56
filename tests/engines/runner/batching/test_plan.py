from __future__ import annotations

import pytest

from models_app.engines.runner.batching import plan


@pytest.mark.parametrize(
    ("left", "room", "given"),
    [
        ([10], 100, [10]),
        ([500], 100, [100]),
        ([48, 48, 48], 100, [48, 48, 4]),
        ([3000, 10, 20], 100, [70, 10, 20]),
        ([3000, 100, 100], 100, [25, 75, 0]),
        ([3000, 3000], 100, [100, 0]),
        ([5, 5], 1, [1, 0]),
        # The reserve is whole tokens, and at least one.
        ([3000, 10], 3, [1, 2]),
        ([3000, 10], 7, [1, 6]),
        ([3000, 10], 8, [2, 6]),
    ],
)
def test_it_divides_the_room_of_a_step(left: list[int], room: int, given: list[int]) -> None:
    assert plan.divide(left, room) == given


def test_a_long_prompt_gets_on_however_many_short_ones_come() -> None:
    assert plan.divide([3000] + [40] * 100, 100)[0] == 25


def test_the_first_shared_step_is_careful() -> None:
    assert plan.Pace().share() == plan.FIRST_SHARE


def test_the_share_is_what_fits_into_a_step() -> None:
    pace = plan.Pace()
    pace.learn(rows=100, seconds=0.1)

    assert pace.share() == pytest.approx(plan.STEP_SECONDS * 1000, abs=1)


def test_a_slow_machine_still_gets_on() -> None:
    pace = plan.Pace()
    pace.learn(rows=100, seconds=100.0)

    assert pace.share() == plan.LEAST_SHARE


def test_steps_of_few_rows_teach_nothing() -> None:
    pace = plan.Pace()
    pace.learn(rows=plan.LEAST_SHARE - 1, seconds=1.0)

    assert pace.share() == plan.FIRST_SHARE

    pace.learn(rows=plan.LEAST_SHARE, seconds=plan.LEAST_SHARE / 1000)

    assert pace.share() == pytest.approx(plan.STEP_SECONDS * 1000, abs=1)


def test_the_pace_follows_the_newest_step_by_three_tenths() -> None:
    pace = plan.Pace()
    pace.learn(rows=100, seconds=0.1)
    pace.learn(rows=100, seconds=0.2)

    assert pace.share() == int(plan.STEP_SECONDS / 0.0013)

    for _ in range(50):
        pace.learn(rows=100, seconds=0.2)

    assert pace.share() == pytest.approx(plan.STEP_SECONDS * 500, abs=1)
