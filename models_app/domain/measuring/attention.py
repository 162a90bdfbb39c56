"""When an operator should look: thresholds, and what is said about them."""

from __future__ import annotations

from dataclasses import dataclass

# Memory beyond this part of the budget leaves no room for a model that is asked for next.
BUDGET_NEAR = 0.9
# A model that is thrown out as often as this in an hour is wanted more than there is room for.
EVICTIONS_AN_HOUR = 3
# Longer than any drain and most loads; a load has its own limit beside it (NOA_LOAD_TIMEOUT).
STUCK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Warning:
    """Something to act on. `kind` and `subject` say what it is about: ("model", "llama.cpp:tiny")."""

    tone: str  # `bad`: does not work now; `warn`: will not, or works badly
    sentence: str
    kind: str = ""
    subject: str = ""


def budget_is_near(*, used: int, budget: int | None) -> bool:
    """Bytes; no budget is never near."""
    return bool(budget) and used >= BUDGET_NEAR * (budget or 0)


def is_stuck(*, seconds: float, limit: float) -> bool:
    """Whether something has been on its way for longer than it may: `limit` is the setting of what it waits for."""
    return seconds > max(limit, STUCK_SECONDS)
