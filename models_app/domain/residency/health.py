"""Determines whether a loaded model answers, from the requests that it serves and, while it is idle, from a token
computed periodically.

Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

# Failed checks in a row until a runner counts as hung.
FAILURES_ALLOWED = 3
# The longest step of a busy runner whose health endpoint answers: a large model on few processors needs many seconds
# for a batch of 512 tokens.
STALL_SECONDS = 60.0


class Health(StrEnum):
    UNKNOWN = "unknown"
    """The runner has not answered yet, or is not checked because its worker is down."""
    HEALTHY = "healthy"
    FAILING = "failing"
    """The runner did not answer the last check."""


class Need(StrEnum):
    """The action after a check."""

    NOTHING = "nothing"
    CANARY = "canary"
    """Compute one token, to check that the runner still can."""
    REPLACE = "replace"
    """The runner hangs: end it and start another."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a runner between checks.

    steps           computed until the last check; None before the first
    succeeded_at    when it last computed a step
    failures        failed checks in a row
    """

    succeeded_at: float
    steps: int | None = None
    failures: int = 0


def after_answer(seen: Seen, *, steps: int, in_flight: int, now: float, canary_seconds: float) -> tuple[Seen, Need]:
    """State and action after an answer of the health endpoint. `canary_seconds` is how long an idle runner is trusted
    without a token; 0 means for ever."""
    if seen.steps is None or steps != seen.steps:
        return Seen(now, steps), Need.NOTHING
    unproven = now - seen.succeeded_at
    if in_flight and unproven <= STALL_SECONDS:
        return seen, Need.NOTHING
    if in_flight or 0 < canary_seconds <= unproven or seen.failures:
        return seen, Need.CANARY
    return seen, Need.NOTHING


def after_success(seen: Seen, *, now: float) -> Seen:
    """The state after the runner computed the token."""
    return replace(seen, succeeded_at=now, failures=0)


def after_failure(seen: Seen) -> tuple[Seen, Need]:
    """State and action after a check without an answer, or without a token, in time."""
    failures = seen.failures + 1
    return (
        replace(seen, failures=failures),
        Need.REPLACE if failures >= FAILURES_ALLOWED else Need.NOTHING,
    )
