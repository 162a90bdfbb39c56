"""What this process has seen of the heartbeats of all nodes, and for how long each has been silent.

Two clocks are never compared, neither those of two machines nor that of the database now and earlier: a clock can be
set. A heartbeat is a value that changes. The time for which it has not changed is counted in looks of this process, of
which each counts for at most one interval: a process that stood still, or that could not reach the database, is late
itself, and does not find all others late. Only a silence that a process has observed from its beginning proves that a
node is lost.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import inf
from time import monotonic

from django.db import DatabaseError, connection
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from models_app.models import Node
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

# The interval at which a process reads the heartbeats, and the longest silence that one reading adds.
LOOK_SECONDS = 2.0

Mark = tuple[int, datetime | None]


@dataclass(frozen=True, slots=True)
class Silence:
    """Seconds without a new heartbeat of one node.

    seconds     by the best knowledge: for a node that this process has just found, by the database's clock
    observed    the part that this process has observed itself
    mark        generation and time of the last heartbeat
    """

    seconds: float
    observed: float
    mark: Mark


@dataclass(slots=True)
class _Sight:
    mark: Mark
    since: float
    # By the database's clock, when this process first saw the node; 0 once a heartbeat was seen to change.
    before: float


class Observer:
    """Thread-safe. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sights: dict[int, _Sight] = {}
        self._looked_at: float | None = None
        self._last: dict[str, Silence] | None = None
        # Seconds of observation so far.
        self._now = 0.0
        self._thread = RepeatingThread("heartbeats", self._try_to_look, lambda: LOOK_SECONDS)

    def start(self) -> None:
        """Look regularly, so that a silence is observed from its beginning."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, and forget what was seen: a later start observes from its own beginning."""
        self._thread.stop()
        with self._lock:
            self._sights, self._looked_at, self._last = {}, None, None

    def look(self) -> dict[str, Silence]:
        """Read the heartbeats of all nodes whose lease is held; returns how long each has been silent, by its name."""
        with self._lock:
            age = ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField())
            rows = Node.objects.filter(pid__isnull=False).annotate(age=age)
            found = list(rows.values_list("pk", "name", "generation", "heartbeat_at", "age"))
            # After the query: one that took long does not count as silence of others.
            now = self._clock()
            if self._looked_at is not None:
                self._now += min(max(0.0, now - self._looked_at), LOOK_SECONDS)
            self._looked_at = now
            self._sights = {
                pk: self._sight(pk, (generation, heartbeat), age.total_seconds() if age is not None else inf)
                for pk, _, generation, heartbeat, age in found
            }
            self._last = {name: self._silence(self._sights[pk]) for pk, name, *_ in found}
            return self._last

    def recent(self) -> dict[str, Silence]:
        """The result of the last regular look; of a new one where this process does not look regularly."""
        return self._last if self._thread.is_started and self._last is not None else self.look()

    def _sight(self, pk: int, mark: Mark, age: float) -> _Sight:
        known = self._sights.get(pk)
        if known is None:
            return _Sight(mark, self._now, max(0.0, age))
        return known if known.mark == mark else _Sight(mark, self._now, 0.0)

    def _silence(self, sight: _Sight) -> Silence:
        observed = self._now - sight.since
        return Silence(sight.before + observed, observed, sight.mark)

    def _try_to_look(self) -> None:
        try:
            self.look()
        except DatabaseError as error:
            logger.debug("the heartbeats could not be read: %s", error)
        finally:
            connection.close()


observer = Observer()
"""The observer of this process."""
