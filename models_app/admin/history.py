"""What happened to a model, in sentences: the ledger as people read it."""

from __future__ import annotations

from typing import Any

from models_app.admin import marks
from models_app.domain.ledger import LedgerCause, LedgerKind
from models_app.models import LedgerEntry

_SHOWN = 12
_DONE = {
    LedgerKind.LOAD: "It was loaded",
    LedgerKind.UNLOAD: "It was unloaded",
    LedgerKind.EVICTION: "It was evicted",
    LedgerKind.REFUSAL: "A load was refused",
    LedgerKind.SWITCH: "A route was moved to it",
    LedgerKind.RECOVERY: "It was brought back",
}
_CAUSES = {
    LedgerCause.REQUEST: "a request wanted it",
    LedgerCause.KEY: "a program asked for it",
    LedgerCause.OPERATOR: "somebody asked for it",
    LedgerCause.POLICY: "a rule of NOA's says so",
    LedgerCause.RECOVERY: "its runner, worker or machine had gone",
    LedgerCause.RESTORE: "it was loaded before",
}
_TONES = {"done": "good", "failed": "bad", "refused": "bad", "cancelled": "warn"}


def of_model(key: str) -> list[dict[str, Any]]:
    """The newest entries, each as a sentence with its time."""
    return [
        {
            "sentence": sentence(entry),
            "tone": "warn" if entry.kind == LedgerKind.EVICTION else _TONES[entry.outcome],
            "ago": marks.ago(entry.at),
            "actor": entry.actor,
        }
        for entry in LedgerEntry.objects.filter(model_key=key).order_by("-id")[:_SHOWN]
    ]


def sentence(entry: LedgerEntry) -> str:
    what = _DONE[LedgerKind(entry.kind)]
    if entry.outcome in ("failed", "cancelled"):
        what = f"{entry.get_kind_display().capitalize()} {entry.outcome}"
    why = entry.reason or _CAUSES[LedgerCause(entry.cause)]
    return f"{what}: {why}".rstrip(".") + "."
