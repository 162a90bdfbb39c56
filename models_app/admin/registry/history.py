"""The history of a model: its ledger entries in sentences."""

from __future__ import annotations

from typing import Any

from models_app.admin.parts import badges
from models_app.domain.residency.ledger import LedgerKind
from models_app.models import LedgerEntry
from models_app.services.catalog import ledger

_SHOWN = 12
_TONES = {"done": "good", "failed": "bad", "refused": "bad", "cancelled": "warn"}


def of_model(key: str) -> list[dict[str, Any]]:
    """The newest entries, each as a sentence with its time."""
    return [
        {
            "sentence": ledger.sentence_of(entry),
            "tone": "warn" if entry.kind == LedgerKind.EVICTION else _TONES[entry.outcome],
            "ago": badges.ago(entry.at),
            "actor": entry.actor,
        }
        for entry in LedgerEntry.objects.filter(model_key=key).order_by("-id")[:_SHOWN]
    ]
