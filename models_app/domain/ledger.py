"""What the ledger of a model's life knows: what was done, what made it happen, how it ended."""

from __future__ import annotations

from enum import StrEnum


class LedgerKind(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    EVICTION = "eviction"
    REFUSAL = "refusal"
    SWITCH = "switch"
    RECOVERY = "recovery"


class LedgerCause(StrEnum):
    REQUEST = "request"
    """A request through the gateway wanted a model that was not loaded."""
    KEY = "key"
    """A program asked over the API."""
    OPERATOR = "operator"
    """A person asked: in the console, or by a command."""
    POLICY = "policy"
    """A rule of NOA's own: idle for too long, room for another."""
    RECOVERY = "recovery"
    """A runner, a worker or a machine had gone."""
    RESTORE = "restore"
    """The desired state was made true again."""


def cause_of(actor: str) -> LedgerCause:
    """Why a job runs that says nothing else, by who asked for it: `key:<name>`, `user:<name>`, or a part of NOA."""
    kind = actor.partition(":")[0]
    return {
        "key": LedgerCause.KEY,
        "user": LedgerCause.OPERATOR,
        "restore": LedgerCause.RESTORE,
        "recovery": LedgerCause.RECOVERY,
        "gateway": LedgerCause.REQUEST,
    }.get(kind, LedgerCause.POLICY)


class LedgerOutcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
