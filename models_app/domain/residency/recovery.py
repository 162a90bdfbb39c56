"""When a model that died is started again, and when no more. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# So many deaths within the window, and a model is not started again: it would only die once more.
DEATHS_ALLOWED = 5
WINDOW_SECONDS = 300.0
# Nothing that is refused is asked for more rarely: memory, say, may be free again.
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`pause` in seconds until the next attempt; None: none is made until somebody asks."""

    pause: float | None


def remembered(deaths: Sequence[float], *, now: float) -> list[float]:
    """The deaths that still count, oldest first: those with no whole window of quiet after them."""
    kept: list[float] = []
    newer = now
    for death in sorted(deaths, reverse=True):
        if newer - death > WINDOW_SECONDS:
            break
        kept.insert(0, death)
        newer = death
    return kept


def next_attempt(deaths: Sequence[float], *, refusals: int, now: float) -> Verdict:
    """After the deaths so far, the newest of which may be now, and after `refusals` attempts in a row that were refused.

    The first death of a healthy model costs no pause; then 1, 2, 4 … 60 seconds.
    """
    counted = remembered(deaths, now=now)
    recent = [death for death in counted if now - death <= WINDOW_SECONDS]
    if len(recent) >= DEATHS_ALLOWED:
        return Verdict(None)
    trouble = len(counted) + refusals
    return Verdict(0.0 if trouble <= 1 else min(2.0 ** min(trouble - 2, 16), LONGEST_PAUSE_SECONDS))
