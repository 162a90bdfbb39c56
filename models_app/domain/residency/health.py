"""Whether a loaded model answers: from what it did for others, and, when nobody asks it, from one token now and then.

Times are seconds of a clock that never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

# Looks in a row that fail until a runner is taken for hung.
FAILURES_ALLOWED = 3
# How long a busy runner may compute one step, while it still says that it lives: a large model on few processors may
# take many seconds for a batch of 512 tokens.
STALL_SECONDS = 60.0


class Health(StrEnum):
    UNKNOWN = "unknown"
    """Nobody has seen it answer yet, or nobody looks: its worker is away."""
    HEALTHY = "healthy"
    FAILING = "failing"
    """It did not answer the last time."""


class Need(StrEnum):
    """What a look at a runner calls for."""

    NOTHING = "nothing"
    CANARY = "canary"
    """One token, to see whether it still computes."""
    REPLACE = "replace"
    """It hangs."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a runner.

    steps           that it had computed when last looked at; None before the first look
    succeeded_at    when it last computed something
    failures        looks in a row that failed
    """

    succeeded_at: float
    steps: int | None = None
    failures: int = 0


def after_answer(seen: Seen, *, steps: int, in_flight: int, now: float, canary_seconds: float) -> tuple[Seen, Need]:
    """The runner said how many steps it has computed. `canary_seconds` is how long an idle one is believed, 0 for ever."""
    if seen.steps is None or steps != seen.steps:
        return Seen(now, steps), Need.NOTHING
    silent = now - seen.succeeded_at
    if in_flight and silent <= STALL_SECONDS:
        return seen, Need.NOTHING
    if in_flight or 0 < canary_seconds <= silent or seen.failures:
        return seen, Need.CANARY
    return seen, Need.NOTHING


def after_success(seen: Seen, *, now: float) -> Seen:
    """It computed a token for us."""
    return replace(seen, succeeded_at=now, failures=0)


def after_failure(seen: Seen) -> tuple[Seen, Need]:
    """It did not answer in time, or not with a token."""
    failures = seen.failures + 1
    return (
        replace(seen, failures=failures),
        Need.REPLACE if failures >= FAILURES_ALLOWED else Need.NOTHING,
    )
