"""Decides when a model whose runner died is restarted. Times are Unix seconds.

A model that dies again and again is given up: requests for it are refused at once, and it is tried again after a rest
that doubles with each failed attempt. One attempt is made at a time, and the model counts as well again only after it
has served for a whole window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# After this many deaths within the window a model is given up: it would die again.
DEATHS_ALLOWED = 5
WINDOW_SECONDS = 300.0
# The longest backoff: a missing resource, such as memory, can be free again at any time.
LONGEST_PAUSE_SECONDS = 60.0
# Between the attempts of a model that was given up: its cause can be a driver, a disk or a request that has gone.
FIRST_REST_SECONDS = 60.0
LONGEST_REST_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`pause` in seconds until the next attempt; None if the model is given up, for `rest`."""

    pause: float | None


def remembered(deaths: Sequence[float], *, now: float) -> list[float]:
    """The deaths that still count, oldest first: those not followed by a whole window without one."""
    kept: list[float] = []
    newer = now
    # A death in the future was counted before the clock was set back.
    for death in sorted((min(death, now) for death in deaths), reverse=True):
        if newer - death > WINDOW_SECONDS:
            break
        kept.insert(0, death)
        newer = death
    return kept


def next_attempt(deaths: Sequence[float], *, refusals: int, now: float) -> Verdict:
    """The next attempt after these deaths, the newest of which can be now, and `refusals` refused attempts in a row.

    The first death of a healthy model costs no pause; then 1, 2, 4 … 60 seconds.
    """
    counted = remembered(deaths, now=now)
    recent = [death for death in counted if now - death <= WINDOW_SECONDS]
    if len(recent) >= DEATHS_ALLOWED:
        return Verdict(None)
    trouble = len(counted) + refusals
    return Verdict(0.0 if trouble <= 1 else min(2.0 ** min(trouble - 2, 16), LONGEST_PAUSE_SECONDS))


def rest(times: int) -> float:
    """Seconds until the next attempt of a model that was given up `times` times in a row: 1, 2, 4 … 30 minutes."""
    return min(FIRST_REST_SECONDS * 2.0 ** min(max(times, 1) - 1, 16), LONGEST_REST_SECONDS)
