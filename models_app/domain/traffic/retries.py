"""The retry rules of inference requests, as one table of decisions after a failed attempt.

Pure: the caller counts the failures and passes the time that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Failure(StrEnum):
    """The result of a failed attempt, or of a failed search for a target.

    unknown        the name is in no snapshot, or its route has no model
    cold           the model is registered and not loaded
    not_begun      the runner refused the connection, or drains: no work was done on the request
    runner_died    the runner closed the connection with the request in flight
    provider_idle  the provider was not reached, or reports that it did no work and accepts a retry soon
    transient      this target has no answer now; another model can have one
    final          the error is about the request itself
    """

    UNKNOWN = "unknown"
    COLD = "cold"
    NOT_BEGUN = "not_begun"
    RUNNER_DIED = "runner_died"
    PROVIDER_IDLE = "provider_idle"
    TRANSIENT = "transient"
    FINAL = "final"


class Decision(StrEnum):
    """again     resolve the name from a fresh snapshot and retry at once
    wait      as again, but wait for a target until the deadline
    fallback  try the fallbacks of the route
    answer    the error is the answer
    """

    AGAIN = "again"
    WAIT = "wait"
    FALLBACK = "fallback"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Situation:
    """One request after a failure.

    started        the client has received the beginning of an answer
    failures       the number so far, this one included
    deaths         runners that died with the request in flight, this one included
    time_left      seconds that the request can still wait for a model
    has_fallbacks  its route names other models, and none of them was tried
    """

    failure: Failure
    started: bool = False
    failures: int = 1
    deaths: int = 0
    time_left: float = 0.0
    has_fallbacks: bool = False


# The first row that matches decides; `*` matches everything. Why:
# - An answer that has started cannot be taken back.
# - The snapshot can be older than a load or a new route, so the first failure of a search is worth one refresh.
# - An attempt that had not begun costs nothing, so the request waits for another runner until its deadline.
# - A request can have killed its runner, so it is retried once and never sent to a third one.
# - A provider is retried once, since each attempt costs money and time.
# - A request that another model can answer does not wait for this one.
TABLE = """
failure        started  first  died_twice  time_left  fallbacks  decision

*              yes      *      *           *          *          answer
final          *        *      *           *          *          answer
unknown        *        yes    *           yes        no         wait
unknown        *        yes    *           *          *          again
cold           *        *      *           yes        no         wait
cold           *        yes    *           *          *          again
not_begun      *        *      *           yes        no         wait
not_begun      *        yes    *           *          *          again
runner_died    *        *      no          yes        no         wait
runner_died    *        yes    no          *          *          again
provider_idle  *        yes    *           *          *          again
*              *        *      *           *          yes        fallback
*              *        *      *           *          *          answer
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `TABLE`: its conditions, and the decision."""

    conditions: tuple[str, ...]
    decision: Decision

    def matches(self, facts: tuple[str, ...]) -> bool:
        return all(condition in ("*", fact) for condition, fact in zip(self.conditions, facts, strict=True))


def _rows(table: str) -> tuple[Row, ...]:
    lines = [line.split() for line in table.strip().splitlines()[1:] if line]
    return tuple(Row(tuple(conditions), Decision(decision)) for *conditions, decision in lines)


ROWS = _rows(TABLE)


def decide(situation: Situation) -> Decision:
    """The decision after the failure of this request."""
    return row_of(situation).decision


def row_of(situation: Situation) -> Row:
    """The row of the table that decides."""
    facts = (
        situation.failure.value,
        _word(situation.started),
        _word(situation.failures <= 1),
        _word(situation.deaths >= 2),
        _word(situation.time_left > 0),
        _word(situation.has_fallbacks),
    )
    return _row(facts)


@cache
def _row(facts: tuple[str, ...]) -> Row:
    return next(row for row in ROWS if row.matches(facts))


def _word(fact: bool) -> str:
    return "yes" if fact else "no"
