"""The ledger: every load, unload, eviction, refusal, switch and recovery of a model, with its cause."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from models_app.domain.records.confidential import storable
from models_app.domain.residency.ledger import (
    Figures,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
    sentence,
)
from models_app.models import Instance, LedgerEntry
from models_app.services.catalog import lookup
from models_app.services.events import events


@transaction.atomic
def record(fact: LifecycleFact, *, instance: Instance | None = None) -> LedgerEntry:
    """Write the fact's row and, where it has one, publish its event, in one transaction.

    Node, version and figures that the fact leaves out are those of `instance`.
    """
    origin, figures = fact.origin, _figures(fact.figures, instance)
    if fact.event is not None:
        events.publish(
            name=fact.event.name,
            subject=fact.model_key,
            message=fact.event.message,
            actor=origin.actor,
            cause=fact.event.cause,
            before=fact.event.before,
            after=fact.event.after,
            job_id=origin.job_id,
            data=dict(fact.event.data),
        )
    return LedgerEntry.objects.create(
        kind=fact.kind,
        model_key=fact.model_key,
        cause=origin.cause,
        actor=origin.actor[:150],
        request_id=origin.request_id[:64],
        node=fact.node or (instance.node if instance else "") or settings.NOA_NODE,
        instance_id=instance.pk if instance else None,
        version=instance.version.sha256 if instance and instance.version else "",
        job_id=origin.job_id,
        outcome=fact.outcome,
        reason=storable(fact.reason),
        candidates=[dict(candidate) for candidate in fact.candidates],
        predicted_bytes=figures.predicted_bytes,
        measured_bytes=figures.measured_bytes,
        predicted_seconds=figures.predicted_seconds,
        measured_seconds=figures.measured_seconds,
        data=dict(fact.data),
    )


def _figures(known: Figures, instance: Instance | None) -> Figures:
    if instance is None:
        return known
    return Figures(
        predicted_bytes=known.predicted_bytes or instance.memory_estimate_bytes,
        measured_bytes=known.measured_bytes or instance.memory_bytes,
        predicted_seconds=known.predicted_seconds or instance.predicted_load_seconds,
        measured_seconds=known.measured_seconds or instance.load_seconds,
    )


def of_model(*, key: str) -> QuerySet[LedgerEntry]:
    """A model's entries, newest first; raises ModelNotFound."""
    return LedgerEntry.objects.filter(model_key=lookup.get(key=key).key)


def represent(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": entry.at,
        "sentence": sentence_of(entry),
        "kind": entry.kind,
        "cause": entry.cause,
        "outcome": entry.outcome,
        "actor": entry.actor,
        "request_id": entry.request_id,
        "node": entry.node,
        "instance_id": entry.instance_id,
        "version": entry.version,
        "job_id": entry.job_id,
        "reason": entry.reason,
        "candidates": entry.candidates,
        "predicted_bytes": entry.predicted_bytes,
        "measured_bytes": entry.measured_bytes,
        "predicted_seconds": entry.predicted_seconds,
        "measured_seconds": entry.measured_seconds,
        "data": entry.data,
    }


def sentence_of(entry: LedgerEntry) -> str:
    """One sentence for people: what happened, and why."""
    return sentence(
        LifecycleFact(
            kind=LedgerKind(entry.kind),
            model_key=entry.model_key,
            outcome=LedgerOutcome(entry.outcome),
            origin=Origin(LedgerCause(entry.cause), entry.actor, entry.request_id, entry.job_id),
            reason=entry.reason,
            figures=Figures(
                predicted_bytes=entry.predicted_bytes,
                measured_bytes=entry.measured_bytes,
                measured_seconds=entry.measured_seconds,
            ),
            data=entry.data,
        )
    )
