"""Thresholds of the warnings for operators."""

from __future__ import annotations

from dataclasses import dataclass

# Memory beyond this part of the budget leaves no room for the next model.
BUDGET_NEAR = 0.9
# A model that is evicted this often in an hour is requested more than memory allows.
EVICTIONS_AN_HOUR = 3
# Longer than any drain and most loads; a load has its own limit too (NOA_LOAD_TIMEOUT).
STUCK_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Warning:
    """A problem for an operator. `kind` and `subject` identify its object: ("model", "llama.cpp:tiny")."""

    tone: str  # `bad`: does not work now; `warn`: will soon fail, or works badly
    sentence: str
    kind: str = ""
    subject: str = ""


def budget_is_near(*, used: int, budget: int | None) -> bool:
    """Whether the memory in use is close to the budget (bytes); False without a budget."""
    return used >= BUDGET_NEAR * budget if budget else False


def is_stuck(*, seconds: float, limit: float) -> bool:
    """Whether a load or job takes longer than both `limit`, its own time-out, and `STUCK_SECONDS`."""
    return seconds > max(limit, STUCK_SECONDS)
