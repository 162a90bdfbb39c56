"""Recovers models whose runner died, hung, or could not be restarted; gives up those that die repeatedly.

Only models of the desired state (`wanted`) are recovered. A recovery is a load like any other, with the cause
"recovery". The death of an instance and its scheduled recovery are written in one transaction: no reader sees one
without the other.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from time import time
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict
from models_app.domain.events import EventName
from models_app.domain.residency import recovery as policy
from models_app.domain.residency.ledger import (
    FactEvent,
    Figures,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
)
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    SERVING_INSTANCE_STATES,
    InstanceState,
    JobKind,
    JobState,
)
from models_app.models import Instance, Job, Recovery, RegisteredModel, Route
from models_app.services.catalog import ledger
from models_app.services.coordination import signals
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.routes import routing
from models_app.services.runners import instances

logger = logging.getLogger(__name__)

ACTOR = "recovery"
_ORIGIN = Origin(LedgerCause.RECOVERY, ACTOR)
# Failures of a load that the model did not cause: a temporary lack of something else.
_REFUSALS = frozenset(
    {
        "insufficient_memory",
        "no_room_in_time",
        "too_many_loads",
        "unavailable",
        "load_cancelled",
        "interrupted",
        "provider_error",
    }
)
# The default without a measured load of the model: the duration of a small one.
_DEFAULT_LOAD_SECONDS = 5.0


def fail(
    *,
    instance: Instance,
    what: str,
    reason: str,
    actor: str,
    data: dict[str, Any] | None = None,
    not_before: float = 0.0,
) -> bool:
    """Mark an instance as failed, and schedule the recovery of its model if that is desired.

    `what` completes the sentence "… stopped serving: its …"; `not_before` is the shortest pause until the next attempt,
    in seconds. False when the instance was ended by another process meanwhile.
    """
    before = instance.state
    with transaction.atomic():
        moved = instances.move(
            instance=instance,
            to=InstanceState.FAILED,
            failure_stage="serve",
            failure_reason=reason,
        )
        if not moved:
            return False
        events.publish(
            name=EventName.INSTANCE_FAILED,
            subject=instance.model.key,
            message=f"{instance.model.key} stopped serving: its {what}.",
            actor=actor,
            cause=f"its {what}"[:255],
            before=before,
            after=InstanceState.FAILED,
            data={"instance": str(instance.pk)} | (data or {}),
        )
        if before == InstanceState.READY:
            _count(
                instance.model,
                instance.node,
                f"Its {what}.",
                is_death=True,
                not_before=not_before,
            )
    logger.error("%s: its %s", instance.model.key, what)
    return True


def attempted(*, job: Job) -> None:
    """Count the failure of a job that was to recover a model; ignore other jobs."""
    if job.kind != JobKind.LOAD or job.actor not in (ACTOR, "restore"):
        return
    model = RegisteredModel.objects.filter(key=job.subject, wanted=True).first()
    if model is not None and job.state == JobState.FAILED:
        with transaction.atomic():
            is_death = job.error_code not in _REFUSALS
            _count(model, job.node or settings.NOA_NODE, job.error_message, is_death=is_death)
    # The triggered check records a successful recovery.
    signals.recovery_due.send(sender=Recovery)


def release_hold(*, instance: Instance) -> None:
    """End the `not_before` of a recovery: only the backoff after its deaths remains."""
    with transaction.atomic():
        row = _locked(instance.model, instance.node)
        died = max(row.deaths, default=0.0)
        pause = policy.next_attempt(row.deaths, refusals=row.refusals, now=died).pause
        if row.due_at is None or pause is None:
            return
        row.due_at = _moment(max(died + pause, time()))
        row.save(update_fields=["due_at"])
        transaction.on_commit(lambda: signals.recovery_due.send(sender=Recovery))


def _count(model: RegisteredModel, node: str, reason: str, *, is_death: bool, not_before: float = 0.0) -> None:
    """Count a death or a refusal, and schedule the next attempt. Call in a transaction."""
    desired = RegisteredModel.objects.filter(pk=model.pk, wanted=True).exists()
    now = time()
    row = _locked(model, node)
    deaths = policy.remembered(row.deaths, now=now)
    row.deaths = [*deaths, now] if is_death else deaths
    row.refusals = 0 if is_death else row.refusals + 1
    row.reason = reason
    pause = policy.next_attempt(row.deaths, refusals=row.refusals, now=now).pause
    if not desired:
        row.due_at = row.back_at = None
    elif pause is None:
        _give_up(row)
    else:
        pause = max(pause, not_before)
        row.due_at = _moment(now + pause)
        row.back_at = _moment(now + pause + load_seconds(model))
        row.given_up_at = None
    row.save()
    routing.bump()
    transaction.on_commit(lambda: signals.recovery_due.send(sender=Recovery))


def _locked(model: RegisteredModel, node: str) -> Recovery:
    """The row, locked until this transaction ends."""
    row, _ = Recovery.objects.get_or_create(model=model, node=node)
    return Recovery.objects.select_for_update().get(pk=row.pk)


def _give_up(row: Recovery) -> None:
    key, count = row.model.key, len(row.deaths)
    row.due_at = row.back_at = None
    row.given_up_at = timezone.now()
    minutes = policy.WINDOW_SECONDS / 60
    why = f"It died {count} times, {policy.DEATHS_ALLOWED} of them within {minutes:g} minutes."
    event = FactEvent(
        EventName.RECOVERY_GIVEN_UP,
        f"{key} is not started again until it is requested. {why}",
        cause=row.reason[:255],
        data={"deaths": count, "reason": row.reason},
    )
    fact = LifecycleFact(
        LedgerKind.RECOVERY,
        key,
        LedgerOutcome.FAILED,
        _ORIGIN,
        reason=f"{why} {row.reason}",
        node=row.node,
        data={"deaths": count},
        event=event,
    )
    ledger.record(fact)


def load_seconds(model: RegisteredModel) -> float:
    """The expected duration of the next load: that of the last one."""
    known = Instance.objects.filter(model=model, load_seconds__isnull=False).order_by("-created_at")
    return known.values_list("load_seconds", flat=True).first() or _DEFAULT_LOAD_SECONDS


def due() -> list[Job]:
    """Settle the recoveries of this node that are over, and return queued jobs for those that are due."""
    rows = Recovery.objects.filter(node=settings.NOA_NODE).exclude(due_at=None, given_up_at=None)
    found = list(rows.select_related("model"))
    if not found:
        return []
    targets = set(Route.objects.values_list("target_id", flat=True))
    found.sort(key=lambda row: row.model_id not in targets)
    return [job for row in found if (job := _check(row)) is not None]


def _check(row: Recovery) -> Job | None:
    serving = Instance.objects.filter(model=row.model, node=row.node, state__in=SERVING_INSTANCE_STATES).first()
    if serving is not None and serving.state == InstanceState.READY:
        _settle(row, serving)
        return None
    if not row.model.wanted:
        _cancel(row)
        return None
    if serving is not None or row.due_at is None or row.due_at > timezone.now():
        return None
    return _request_load(row)


def _request_load(row: Recovery) -> Job | None:
    if _is_being_loaded(row.model):
        return None
    try:
        job, created = jobs.create(
            kind=JobKind.LOAD,
            subject=row.model.key,
            arguments={},
            options=LoadOptions(),
            actor=ACTOR,
            # With several copies, this node must load its own: another copy that serves does not replace it.
            asked_node=row.node if row.model.replicas > 1 else "",
        )
    except Conflict:
        # Another job is loading it with other options, and takes precedence.
        return None
    if not created:
        return None
    Recovery.objects.filter(pk=row.pk).update(back_at=_moment(time() + load_seconds(row.model)))
    return job


def _is_being_loaded(model: RegisteredModel) -> bool:
    return Job.objects.filter(kind=JobKind.LOAD, subject=model.key, state__in=ACTIVE_JOB_STATES).exists()


def _settle(row: Recovery, serving: Instance) -> None:
    """End the recovery of a model that serves again. If it had been given up, its recorded deaths are cleared."""
    was_given_up = row.given_up_at is not None
    with transaction.atomic():
        changed = Recovery.objects.filter(pk=row.pk, due_at=row.due_at, given_up_at=row.given_up_at)
        if not changed.update(
            due_at=None,
            back_at=None,
            given_up_at=None,
            refusals=0,
            deaths=[] if was_given_up else row.deaths,
        ):
            return
        routing.bump()
        if not was_given_up:
            _record_recovered(row, serving)


def _record_recovered(row: Recovery, serving: Instance) -> None:
    ready_at = serving.ready_at or timezone.now()
    away = max(0.0, ready_at.timestamp() - max(row.deaths, default=ready_at.timestamp()))
    event = FactEvent(
        EventName.INSTANCE_RECOVERED,
        f"{row.model.key} serves again, {away:.1f} seconds after it had stopped.",
        cause=row.reason[:255],
        data={"instance": str(serving.pk), "away_seconds": round(away, 3)},
    )
    fact = LifecycleFact(
        LedgerKind.RECOVERY,
        row.model.key,
        LedgerOutcome.DONE,
        _ORIGIN,
        reason=row.reason,
        figures=Figures(measured_seconds=round(away, 3)),
        data={"deaths": len(row.deaths)},
        event=event,
    )
    ledger.record(fact, instance=serving)


def _cancel(row: Recovery) -> None:
    """End the recovery of a model that is no longer part of the desired state."""
    with transaction.atomic():
        changed = Recovery.objects.filter(pk=row.pk, due_at=row.due_at)
        if changed.update(due_at=None, back_at=None, given_up_at=None):
            routing.bump()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
