"""Periods of whole hours or days, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from models_app.domain.errors import InvalidRequest

# Bounds of plausible times, within which arithmetic does not overflow.
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LAST = datetime(2200, 1, 1, tzinfo=UTC)


class Step(StrEnum):
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self == Step.HOUR else timedelta(days=1)

    @property
    def longest(self) -> timedelta:
        """The longest period in this step: 744 hours or 366 days, the most that a chart can show."""
        return timedelta(days=31) if self == Step.HOUR else timedelta(days=366)

    @property
    def usual(self) -> timedelta:
        return timedelta(days=1) if self == Step.HOUR else timedelta(days=30)

    def floor(self, moment: datetime) -> datetime:
        moment = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return moment if self == Step.HOUR else moment.replace(hour=0)

    def ceiling(self, moment: datetime) -> datetime:
        low = self.floor(moment)
        return low if low == moment else low + self.length


@dataclass(frozen=True, slots=True)
class Period:
    """The time from `start` (inclusive) to `end` (exclusive), both at the start of a step."""

    start: datetime
    end: datetime
    step: Step

    def starts(self) -> Iterator[datetime]:
        """The start of each step of the period."""
        moment = self.start
        while moment < self.end:
            yield moment
            moment += self.step.length


def period(*, since: datetime | None, until: datetime | None, now: datetime, step: Step = Step.HOUR) -> Period:
    """The whole steps that contain `since` to `until`; by default the usual period up to now.

    Raises InvalidRequest for a period that is empty, reversed, too long, or outside of the years 2000 to 2200.
    """
    for name, moment in (("from", since), ("to", until)):
        if moment is not None and not _FIRST <= moment <= _LAST:
            raise _refused(f"'{name}' must be a time between the years 2000 and 2200.", name)
    end = until or now
    start = since or end - step.usual
    if start >= end:
        raise _refused("'from' must be earlier than 'to'.", "from")
    if end - start > step.longest:
        raise _refused(
            f"A period by the {step} is at most {step.longest.days} days long. Request a shorter one"
            + (", or one by days." if step == Step.HOUR else "."),
            "from",
        )
    return Period(step.floor(start), step.ceiling(end), step)


def _refused(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_period", param=param)
