"""Chooses between copies of a model on several nodes by the requests that this process has in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from models_app.domain.traffic.routing import Target

# An unreachable copy is tried again after this time at the latest, and earlier when no other is left. Detecting that
# its node is lost takes a few times as long.
_AVOID_SECONDS = 5.0
# Bounds the memory of instances that no longer exist; a forgotten one costs one failed attempt.
_MAX_AVOIDED = 1000


class LeastBusy:
    """Fewest requests in flight first. Not used for models with one copy. `clock` is the event loop's time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._avoided: dict[str, float] = {}
        self._turn = 0

    def pick(self, copies: Sequence[Target]) -> Target:
        """The reachable copy with the fewest requests in flight; ties are picked in rotation."""
        now = self._clock()
        self._turn += 1
        count = len(copies)
        ordered = [copies[(self._turn + number) % count] for number in range(count)]
        return min(
            ordered,
            key=lambda copy: (
                self._avoided.get(copy.instance_id, now) > now,
                self._in_flight[copy.instance_id],
            ),
        )

    def avoid(self, target: Target) -> None:
        """Ranks a copy that was unreachable or is draining last, for `_AVOID_SECONDS`."""
        if len(self._avoided) >= _MAX_AVOIDED:
            self._avoided.clear()
        self._avoided[target.instance_id] = self._clock() + _AVOID_SECONDS

    @contextmanager
    def serving(self, target: Target) -> Iterator[None]:
        """Counts one request while it is in flight."""
        self._in_flight[target.instance_id] += 1
        try:
            yield
        finally:
            self._in_flight[target.instance_id] -= 1
            if not self._in_flight[target.instance_id]:
                del self._in_flight[target.instance_id]
