"""Changes to loaded models for the ledger and the events: kind, cause and outcome."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from models_app.domain.events import EventName


class LedgerKind(StrEnum):
    LOAD = "load"
    UNLOAD = "unload"
    EVICTION = "eviction"
    REFUSAL = "refusal"
    SWITCH = "switch"
    RECOVERY = "recovery"


class LedgerCause(StrEnum):
    REQUEST = "request"
    """A request through the gateway needed a model that was not loaded."""
    KEY = "key"
    """A client requested it over the API with a key."""
    OPERATOR = "operator"
    """An operator requested it, in the console or by a command."""
    POLICY = "policy"
    """A policy of NOA: idle for too long, room for another model."""
    RECOVERY = "recovery"
    """A runner, a worker or a machine was lost."""
    RESTORE = "restore"
    """The desired state was restored."""


def cause_of(actor: str) -> LedgerCause:
    """The default cause of a job, from its actor: `key:<name>`, `user:<name>`, or a part of NOA."""
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
class Origin:
    """The origin of a fact: its cause, the actor and, if any, the request and the job."""

    cause: LedgerCause
    actor: str = ""
    request_id: str = ""
    job_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Predictions and measurements of a load. Sizes are bytes."""

    predicted_bytes: int | None = None
    measured_bytes: int | None = None
    predicted_seconds: float | None = None
    measured_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FactEvent:
    """The event of a fact. Its subject is the fact's model; actor and job are those of the fact's origin."""

    name: EventName
    message: str
    cause: str = ""
    before: str | None = None
    after: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LifecycleFact:
    """One load, unload, eviction, refusal, switch or recovery: a row of the ledger and, with `event`, an event.

    reason      sentences, or a clause, the part of a sentence that follows "because"
    node        empty for that of the instance or, without one, of this process
    candidates  the models that were considered: [{"key", "verdict", "why", "bytes", "idle_seconds"}]
    """

    kind: LedgerKind
    model_key: str
    outcome: LedgerOutcome
    origin: Origin
    reason: str = ""
    node: str = ""
    candidates: Sequence[Mapping[str, Any]] = ()
    figures: Figures = Figures()
    data: Mapping[str, Any] = field(default_factory=dict)
    event: FactEvent | None = None


_BECAUSE = {
    LedgerCause.REQUEST: "a request through the gateway needed it",
    LedgerCause.RECOVERY: "it was recovered",
    LedgerCause.RESTORE: "the desired state was restored",
}
_DID = {
    LedgerKind.LOAD: "was loaded",
    LedgerKind.UNLOAD: "was unloaded",
    LedgerKind.EVICTION: "was unloaded",
    LedgerKind.REFUSAL: "was not loaded",
    LedgerKind.SWITCH: "was switched to",
    LedgerKind.RECOVERY: "was recovered",
}
_ENDED = {
    LedgerOutcome.FAILED: "that failed",
    LedgerOutcome.CANCELLED: "that was cancelled",
    LedgerOutcome.REFUSED: "there was no memory for it",
}

_BETWEEN_SENTENCES = re.compile(r"(?<=\w\w[.!?])\s+(?=[A-Z'])|(?<=['\")][.!?])\s+(?=[A-Z'])")
_SENTENCE_END = re.compile(r"[\s.,;:!?]+$")
# Names that keep their capital.
_NAMES = frozenset({"Anthropic", "Celery", "Google", "Linux", "Mistral", "Ollama", "Python", "Redis"})


def sentence(fact: LifecycleFact) -> str:
    """One sentence for people, such as "llama.cpp:a was unloaded to make room for llama.cpp:b, …"."""
    kind, outcome = fact.kind, fact.outcome
    done, reason = outcome == LedgerOutcome.DONE, clause(fact.reason)
    parts = [f"{fact.model_key} {_DID[kind] if done else _tried(kind)}"]
    if reason and done:
        parts.append(f" {reason}" if kind == LedgerKind.EVICTION else f", {reason}")
    # A second colon would end nothing.
    parts.append(_measured(fact) if ":" not in (reason if done else "") else _measured(fact).replace(": it", "; it"))
    if why := _requested_by(fact.origin):
        parts.append(f", because {why}")
    if not done:
        parts.append(f"; {_ENDED[outcome]}" + (f": {reason}" if reason else ""))
    return "".join(parts) + "."


def clause(text: str) -> str:
    """Sentences as one clause, without a capital at its beginning and a full stop at its end.

    Lines after the first, such as those of a log, are left out.
    """
    line = text.strip().partition("\n")[0].strip()
    sentences = [_SENTENCE_END.sub("", sentence).strip() for sentence in _BETWEEN_SENTENCES.split(line)]
    return "; ".join(_uncapitalized(sentence) for sentence in sentences if sentence)


def _uncapitalized(text: str) -> str:
    word = re.match(r"[^\W\d_]+", text)
    ordinary = word is not None and (word[0].istitle() or len(word[0]) == 1) and word[0] not in _NAMES
    return text[0].lower() + text[1:] if ordinary else text


def _tried(kind: LedgerKind) -> str:
    return {
        LedgerKind.REFUSAL: "was not loaded",
        LedgerKind.SWITCH: "should have become the target of a route",
        LedgerKind.RECOVERY: "should have been recovered",
    }.get(kind, "should have been loaded")


def _measured(fact: LifecycleFact) -> str:
    if fact.kind == LedgerKind.EVICTION and "needed_bytes" in fact.data:
        idle = fact.data.get("idle_seconds")
        unused = "" if idle is None else f"; it had not been used for {_duration(float(idle))}"
        return f", which needs {_size(fact.data['needed_bytes'])}{unused}"
    figures = fact.figures
    if fact.kind in (LedgerKind.LOAD, LedgerKind.RECOVERY) and figures.measured_seconds is not None:
        held = "" if figures.measured_bytes is None else f" and holds {_size(figures.measured_bytes)}"
        predicted = "" if figures.predicted_bytes is None else f" ({_size(figures.predicted_bytes)} were predicted)"
        return f": it took {figures.measured_seconds:.1f} s{held}{predicted if held else ''}"
    return ""


def _requested_by(origin: Origin) -> str:
    """The origin in words; empty if the reason is complete without it."""
    if origin.cause == LedgerCause.POLICY:
        return ""
    if origin.cause == LedgerCause.REQUEST:
        return _BECAUSE[origin.cause] + (f" ({origin.request_id})" if origin.request_id else "")
    if origin.cause in _BECAUSE:
        return _BECAUSE[origin.cause]
    kind, _, name = origin.actor.partition(":")
    requester = {"key": f"the API key '{name}'", "user": name}.get(kind, origin.actor or "an unknown actor")
    return f"{requester} requested it"


def _size(size: int | float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
