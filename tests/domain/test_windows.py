"""Steps and windows of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from models_app.domain.measuring.performance import ALPHA, weight
from models_app.domain.windows import WINDOWS, RollupStep

NOW = datetime(2026, 11, 24, 13, 47, 31, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("step", "start"),
    [
        (RollupStep.MINUTE, datetime(2026, 11, 24, 13, 47, tzinfo=UTC)),
        (RollupStep.TEN_MINUTES, datetime(2026, 11, 24, 13, 40, tzinfo=UTC)),
        (RollupStep.HOUR, datetime(2026, 11, 24, 13, tzinfo=UTC)),
        (RollupStep.DAY, datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_a_step_begins_where_clocks_say_so(step: RollupStep, start: datetime) -> None:
    assert step.floor(NOW) == start
    assert step.floor(start) == start
    east = timezone(timedelta(hours=5, minutes=45))
    assert step.floor(NOW.astimezone(east)) == start
    assert step.floor(NOW.astimezone(east)).tzinfo is UTC


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_as_long_as_it_says_or_one_step_longer(name: str) -> None:
    window = WINDOWS[name]
    covered = NOW - window.start(NOW)
    assert window.length <= covered < window.length + window.step.length


@pytest.mark.parametrize("name", WINDOWS)
def test_a_chart_ends_now_and_has_no_gap(name: str) -> None:
    window = WINDOWS[name]
    points = list(window.points(NOW))
    assert points[-1] == window.chart_step.floor(NOW)
    assert len(points) == window.length / window.chart_step.length + 1
    assert len(points) <= 169


@pytest.mark.parametrize("name", WINDOWS)
def test_what_a_window_reads_is_kept_long_enough(name: str) -> None:
    window = WINDOWS[name]
    for step in (window.step, window.chart_step):
        assert step.kept is None or step.kept >= window.length + step.length


def test_a_batch_weighs_what_its_requests_would_weigh_one_by_one() -> None:
    average = 100.0
    for _ in range(7):
        average += ALPHA * (20.0 - average)
    assert 100.0 + weight(7) * (20.0 - 100.0) == pytest.approx(average)
    assert weight(0) == 0.0


def test_the_step_without_end_begins_with_the_epoch() -> None:
    assert RollupStep.EVER.floor(NOW) == datetime(1970, 1, 1, tzinfo=UTC)
    assert RollupStep.EVER.kept is None


def test_a_step_before_the_epoch_begins_before_its_moment() -> None:
    assert RollupStep.HOUR.floor(datetime(1969, 12, 31, 23, 59, tzinfo=UTC)) == datetime(1969, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_present_point_is_shown_at_its_start(name: str) -> None:
    window = WINDOWS[name]
    start = window.chart_step.floor(NOW)
    points = list(window.points(start))
    assert points[0] == window.chart_step.floor(start - window.length)
    assert points[-1] == start
    assert {later - earlier for earlier, later in pairwise(points)} == {window.chart_step.length}


def test_a_length_of_a_step_is_that_of_the_clock() -> None:
    minutes = {step: step.length / timedelta(minutes=1) for step in RollupStep if step is not RollupStep.EVER}
    assert list(minutes.values()) == [1, 10, 60, 1440]
    days = [None if step.kept is None else step.kept / timedelta(days=1) for step in RollupStep]
    assert days == [2 / 24, 2, 14, None, None]
