"""Which of many refused requests get a record of their own: records of requests that any client can send are bounded.

The first few of each source in a period have their own; the others are counted, and become one record of the period.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

PERIOD_SECONDS = 60.0
# The source of the refusals that exceed the number of sources.
OTHER = ""


@dataclass(slots=True)
class Counted:
    """Refusals of one source without a record of their own, in one period. Times are Unix seconds."""

    source: str
    first_at: float
    last_at: float
    count: int = 1


class Sampler:
    """Callable from any thread. `each` records of one source, and `sources` sources with records, in one period."""

    def __init__(self, each: int, sources: int) -> None:
        self._each = each
        self._sources = sources
        self._lock = threading.Lock()
        self._period = 0.0
        self._kept: dict[str, int] = {}
        self._counted: dict[str, Counted] = {}
        # Of periods that have ended.
        self._ended: list[Counted] = []

    def take(self, source: str, now: float) -> bool:
        """Whether this refusal gets its own record; otherwise it is counted."""
        with self._lock:
            self._begin_period(now)
            kept = self._kept.get(source)
            if kept is None and len(self._kept) >= self._sources:
                source = OTHER
            elif (kept or 0) < self._each:
                self._kept[source] = (kept or 0) + 1
                return True
            counted = self._counted.get(source)
            if counted is None:
                self._counted[source] = Counted(source, now, now)
            else:
                counted.count += 1
                counted.last_at = now
            return False

    def ended(self, now: float, *, every: bool = False) -> list[Counted]:
        """What was counted in periods that have ended, once; with `every` that of the present one too."""
        with self._lock:
            self._begin_period(now)
            found, self._ended = self._ended, []
            if every:
                found += self._counted.values()
                self._counted = {}
            return found

    def _begin_period(self, now: float) -> None:
        period = now // PERIOD_SECONDS
        if period != self._period:
            # Bounded also while they cannot be stored: what does not fit is added to the last one.
            for counted in self._counted.values():
                self._end(counted)
            self._kept, self._counted, self._period = {}, {}, period

    def _end(self, counted: Counted) -> None:
        if len(self._ended) > 2 * self._sources:
            self._ended[-1].count += counted.count
            self._ended[-1].last_at = counted.last_at
        else:
            self._ended.append(counted)
