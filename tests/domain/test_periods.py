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


MOMENT = datetime(2026, 11, 24, 10, 31, 42, 17, tzinfo=UTC)


@pytest.mark.parametrize("offset", [-8, 0, 5.75, 9])
def test_a_step_begins_at_a_whole_hour_or_day_of_utc(offset: float) -> None:
    moment = MOMENT.astimezone(timezone(timedelta(hours=offset)))
    hour, day = datetime(2026, 11, 24, 10, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
    assert (Step.HOUR.floor(moment), Step.HOUR.ceiling(moment)) == (hour, hour + timedelta(hours=1))
    assert (Step.DAY.floor(moment), Step.DAY.ceiling(moment)) == (day, day + timedelta(days=1))
    assert Step.HOUR.floor(moment).tzinfo is UTC
    for step, start in ((Step.HOUR, hour), (Step.DAY, day)):
        assert step.floor(start) == step.ceiling(start) == start
        late = start + timedelta(microseconds=1)
        assert (step.floor(late), step.ceiling(late)) == (start, start + step.length)


@pytest.mark.parametrize(
    ("step", "length", "usual", "longest"),
    [
        (Step.HOUR, timedelta(hours=1), timedelta(days=1), timedelta(days=31)),
        (Step.DAY, timedelta(days=1), timedelta(days=30), timedelta(days=366)),
    ],
)
def test_a_step_has_a_usual_and_a_longest_period(
    step: Step, length: timedelta, usual: timedelta, longest: timedelta
) -> None:
    assert (step.length, step.usual, step.longest) == (length, usual, longest)
    end = datetime(2026, 11, 24, tzinfo=UTC)
    assert period(since=None, until=end, now=NOW, step=step).start == end - usual
    assert period(since=end - longest, until=end, now=NOW, step=step).start == end - longest
    with pytest.raises(InvalidRequest) as refused:
        period(since=end - longest - timedelta(microseconds=1), until=end, now=NOW, step=step)
    assert refused.value.message == (
        f"A period by the {step} is at most {longest.days} days long. Request a shorter one"
        + (", or one by days." if step is Step.HOUR else ".")
    )


def test_the_years_2000_to_2200_have_periods() -> None:
    first, last = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    hour, instant = timedelta(hours=1), timedelta(microseconds=1)
    assert period(since=first, until=first + hour, now=NOW).start == first
    assert period(since=last - hour, until=last, now=NOW).end == last
    for since, until, name in ((first - instant, first + hour, "from"), (last - hour, last + instant, "to")):
        with pytest.raises(InvalidRequest) as refused:
            period(since=since, until=until, now=NOW)
        assert refused.value.message == f"'{name}' must be a time between the years 2000 and 2200."
        assert refused.value.param == name


def test_a_period_has_each_of_its_steps_once() -> None:
    end = datetime(2026, 11, 24, tzinfo=UTC)
    found = period(since=end - timedelta(hours=3), until=end, now=NOW)
    assert list(found.starts()) == [end - timedelta(hours=hours) for hours in (3, 2, 1)]
    assert found.step is Step.HOUR


def test_a_reversed_period_is_refused_with_the_order() -> None:
    with pytest.raises(InvalidRequest, match="'from' must be earlier than 'to'") as refused:
        period(since=NOW, until=NOW, now=NOW)
    assert refused.value.param == "from"
