"""The ledger: every load, unload, eviction, refusal, switch and recovery, with its cause."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings

from models_app.domain.confidential import storable
from models_app.domain.ledger import LedgerCause, LedgerKind
from models_app.models import Instance, LedgerEntry


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
    """One row, part of the caller's transaction. `outcome` is one of `models_app.domain.ledger.LedgerOutcome`.

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
