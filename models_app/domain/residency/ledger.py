"""What the ledger of a model's life knows: what was done, what made it happen, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Told:
    """What of an entry its sentence tells. Sizes are bytes."""

    kind: str
    key: str
    cause: str
    outcome: str
    actor: str = ""
    request_id: str = ""
    reason: str = ""
    predicted_bytes: int | None = None
    measured_bytes: int | None = None
    measured_seconds: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


_WHO = {
    LedgerCause.REQUEST: "a request through the gateway wanted it",
    LedgerCause.RECOVERY: "it was brought back",
    LedgerCause.RESTORE: "the desired state was made true again",
}
_DID = {
    LedgerKind.LOAD: "was loaded",
    LedgerKind.UNLOAD: "was unloaded",
    LedgerKind.EVICTION: "was unloaded",
    LedgerKind.REFUSAL: "was not loaded",
    LedgerKind.SWITCH: "was switched to",
    LedgerKind.RECOVERY: "was brought back",
}
_ENDED = {
    LedgerOutcome.FAILED: "that failed",
    LedgerOutcome.CANCELLED: "that was cancelled before its end",
    LedgerOutcome.REFUSED: "there was no memory for it",
}


def sentence(entry: Told) -> str:
    """Why this happened, for a person, such as "llama.cpp:a was unloaded to make room for llama.cpp:b, …"."""
    kind, outcome = LedgerKind(entry.kind), entry.outcome
    done = outcome == LedgerOutcome.DONE
    parts = [f"{entry.key} {_DID[kind] if done else _tried(kind)}"]
    if entry.reason and done:
        parts.append(f" {entry.reason}" if kind == LedgerKind.EVICTION else f", {entry.reason}")
    parts.append(_figures(entry, kind))
    if who := _who(entry):
        parts.append(f", because {who}")
    if not done:
        parts.append(f"; {_ENDED.get(LedgerOutcome(outcome), outcome)}: {entry.reason}".rstrip(": "))
    return "".join(parts).rstrip(".") + "."


def _tried(kind: LedgerKind) -> str:
    return {
        LedgerKind.REFUSAL: "was not loaded",
        LedgerKind.SWITCH: "should have taken a route over",
        LedgerKind.RECOVERY: "should have been brought back",
    }.get(kind, "should have been loaded")


def _figures(entry: Told, kind: LedgerKind) -> str:
    if kind == LedgerKind.EVICTION and "needed_bytes" in entry.data:
        idle = entry.data.get("idle_seconds")
        unused = "" if idle is None else f"; it had not been used for {_duration(float(idle))}"
        return f", which needs {_size(entry.data['needed_bytes'])}{unused}"
    if kind in (LedgerKind.LOAD, LedgerKind.RECOVERY) and entry.measured_seconds is not None:
        held = "" if entry.measured_bytes is None else f" and holds {_size(entry.measured_bytes)}"
        foreseen = "" if entry.predicted_bytes is None else f" ({_size(entry.predicted_bytes)} were foreseen)"
        return f": it took {entry.measured_seconds:.1f} s{held}{foreseen if held else ''}"
    return ""


def _who(entry: Told) -> str:
    """Empty where the reason says it all."""
    cause = LedgerCause(entry.cause)
    if cause == LedgerCause.POLICY:
        return ""
    if cause == LedgerCause.REQUEST:
        return _WHO[cause] + (f" ({entry.request_id})" if entry.request_id else "")
    if cause in _WHO:
        return _WHO[cause]
    kind, _, name = entry.actor.partition(":")
    who = {"key": f"the API key '{name}'", "user": name}.get(kind, entry.actor or "somebody")
    return f"{who} asked for it"


def _size(size: int | float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
