"""Periods of whole hours and days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.periods import Step, period

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)


def test_without_bounds_it_is_the_last_day() -> None:
    found = period(since=None, until=None, now=NOW)
    assert (found.start, found.end) == (
        datetime(2026, 11, 23, 10, tzinfo=UTC),
        datetime(2026, 11, 24, 11, tzinfo=UTC),
    )
    assert len(list(found.starts())) == 25


def test_days_are_those_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    found = period(since=datetime(2026, 11, 1, 3, tzinfo=tokyo), until=NOW, now=NOW, step=Step.DAY)
    assert found.start == datetime(2026, 10, 31, tzinfo=UTC)
    assert found.end == datetime(2026, 11, 25, tzinfo=UTC)


def test_bounds_at_the_start_of_a_step_stay() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    found = period(since=start, until=end, now=NOW)
    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(
    ("since", "until", "step", "param"),
    [
        (NOW, NOW, Step.HOUR, "from"),
        (NOW, NOW - timedelta(hours=1), Step.HOUR, "from"),
        (NOW + timedelta(days=1), None, Step.HOUR, "from"),
        (datetime(1, 1, 1, tzinfo=UTC), None, Step.DAY, "from"),
        (None, datetime(9999, 12, 31, 23, 59, tzinfo=UTC), Step.DAY, "to"),
        (NOW - timedelta(days=32), NOW, Step.HOUR, "from"),
        (NOW - timedelta(days=367), NOW, Step.DAY, "from"),
    ],
)
def test_an_impossible_period_is_refused(
    since: datetime | None, until: datetime | None, step: Step, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        period(since=since, until=until, now=NOW, step=step)
    assert (refused.value.code, refused.value.param) == ("invalid_period", param)
