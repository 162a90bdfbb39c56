"""Time steps of the roll-ups of traffic, and windows of the last minutes, hours and days over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class RollupStep(StrEnum):
    """Time steps. Each divides the next, so a sum over a longer step is a sum over shorter ones."""

    MINUTE = "minute"
    TEN_MINUTES = "ten_minutes"
    HOUR = "hour"
    DAY = "day"
    # Since the first request: values that only grow, like counters of Prometheus.
    EVER = "ever"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]

    @property
    def kept(self) -> timedelta | None:
        """The retention of its rows: twice the longest window that reads them. None means for ever."""
        return _KEPT[self]

    def floor(self, moment: datetime) -> datetime:
        """The start of the step that contains this moment, in UTC."""
        if self == RollupStep.EVER:
            return _EPOCH
        moment = moment.astimezone(UTC)
        return moment - (moment - _EPOCH) % self.length


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = {
    RollupStep.MINUTE: timedelta(minutes=1),
    RollupStep.TEN_MINUTES: timedelta(minutes=10),
    RollupStep.HOUR: timedelta(hours=1),
    RollupStep.DAY: timedelta(days=1),
    RollupStep.EVER: timedelta.max,
}
_KEPT = {
    RollupStep.MINUTE: timedelta(hours=2),
    RollupStep.TEN_MINUTES: timedelta(days=2),
    RollupStep.HOUR: timedelta(days=14),
    RollupStep.DAY: None,
    RollupStep.EVER: None,
}


@dataclass(frozen=True, slots=True)
class Window:
    """The last `length` of time, summed up from rows of `step`; a chart of it has points of `chart_step`.

    The window begins at the start of a step, so it is longer than `length` by up to one step.
    """

    name: str
    length: timedelta
    step: RollupStep
    chart_step: RollupStep

    def start(self, now: datetime) -> datetime:
        return self.step.floor(now - self.length)

    def points(self, now: datetime) -> Iterator[datetime]:
        """The starts of a chart's points, from the step in which the window begins to the present one."""
        moment = self.chart_step.floor(now - self.length)
        while moment <= now:
            yield moment
            moment += self.chart_step.length


# Few rows each, so that the figures of all models are cheap.
WINDOWS = {
    window.name: window
    for window in (
        Window("1m", timedelta(minutes=1), RollupStep.MINUTE, RollupStep.MINUTE),
        Window("5m", timedelta(minutes=5), RollupStep.MINUTE, RollupStep.MINUTE),
        Window("1h", timedelta(hours=1), RollupStep.TEN_MINUTES, RollupStep.MINUTE),
        Window("1d", timedelta(days=1), RollupStep.HOUR, RollupStep.TEN_MINUTES),
        Window("7d", timedelta(days=7), RollupStep.HOUR, RollupStep.HOUR),
        Window("30d", timedelta(days=30), RollupStep.DAY, RollupStep.DAY),
    )
}
