"""The ledger: every load, unload, eviction, refusal, switch and recovery, with its cause."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from models_app.domain.records.confidential import storable
from models_app.domain.residency.ledger import LedgerCause, LedgerKind, Told, sentence
from models_app.models import Instance, LedgerEntry
from models_app.services.catalog import lookup


def record(
    *,
    kind: LedgerKind,
    model_key: str,
    cause: LedgerCause,
    outcome: str,
    actor: str = "",
    request_id: str = "",
    node: str = "",
    instance: Instance | None = None,
    job_id: uuid.UUID | None = None,
    reason: str = "",
    candidates: list[dict[str, Any]] | None = None,
    predicted_bytes: int | None = None,
    measured_bytes: int | None = None,
    predicted_seconds: float | None = None,
    measured_seconds: float | None = None,
    data: dict[str, Any] | None = None,
) -> LedgerEntry:
    """One row, part of the caller's transaction. `outcome` is one of `models_app.domain.residency.ledger.LedgerOutcome`.

    Bytes and seconds that are left out are taken from the instance, where there is one.
    """
    if instance is not None:
        node = node or instance.node
        predicted_bytes = predicted_bytes or instance.memory_estimate_bytes
        measured_bytes = measured_bytes or instance.memory_bytes
        predicted_seconds = predicted_seconds or instance.predicted_load_seconds
        measured_seconds = measured_seconds or instance.load_seconds
    return LedgerEntry.objects.create(
        kind=kind,
        model_key=model_key,
        cause=cause,
        actor=actor[:150],
        request_id=request_id[:64],
        node=node or settings.NOA_NODE,
        instance_id=instance.pk if instance else None,
        version=instance.version.sha256 if instance and instance.version else "",
        job_id=job_id,
        outcome=outcome,
        reason=storable(reason),
        candidates=candidates or [],
        predicted_bytes=predicted_bytes,
        measured_bytes=measured_bytes,
        predicted_seconds=predicted_seconds,
        measured_seconds=measured_seconds,
        data=data or {},
    )


def of_model(*, key: str) -> QuerySet[LedgerEntry]:
    """What happened to a model, newest first; raises ModelNotFound."""
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
    """Why it happened, for a person."""
    return sentence(
        Told(
            kind=entry.kind,
            key=entry.model_key,
            cause=entry.cause,
            outcome=entry.outcome,
            actor=entry.actor,
            request_id=entry.request_id,
            reason=entry.reason,
            predicted_bytes=entry.predicted_bytes,
            measured_bytes=entry.measured_bytes,
            measured_seconds=entry.measured_seconds,
            data=entry.data,
        )
    )
