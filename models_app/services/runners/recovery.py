"""Recovers models whose runner died, hung, or could not be restarted; those that die repeatedly after growing rests.

Only models of the desired state (`wanted`) are recovered. A recovery is a load like any other, with the cause
"recovery". The death of an instance and its scheduled recovery are written in one transaction: no reader sees one
without the other.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict
from models_app.domain.events import EventName
from models_app.domain.residency import recovery as policy
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    InstanceState,
    JobKind,
    JobState,
)
from models_app.models import Instance, Job, Recovery, RegisteredModel, Route
from models_app.services.coordination import signals
from models_app.services.events import events
from models_app.services.jobs import jobs
from models_app.services.routes import routing
from models_app.services.runners import instances, recovery_facts

logger = logging.getLogger(__name__)

ACTOR = recovery_facts.ACTOR
# Actors of loads that no operator requested; "gateway" are those on demand.
_AUTOMATIC = frozenset({ACTOR, "restore", "gateway"})
# The longest `not_before` of `fail`.
_HOLD_SECONDS = 5.0
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
    hung_requests: list[str] | None = None,
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
            hung_requests=hung_requests,
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
                _locked(instance.model, instance.node),
                f"Its {what}.",
                is_death=True,
                not_before=not_before,
                served=(timezone.now() - (instance.ready_at or timezone.now())).total_seconds(),
            )
    logger.error("%s: its %s", instance.model.key, what)
    return True


def attempted(*, job: Job) -> None:
    """Count the result of a job that was to recover a model, once; ignore other jobs."""
    if job.kind != JobKind.LOAD or job.actor not in (ACTOR, "restore"):
        return
    with transaction.atomic():
        if job.actor == ACTOR:
            row = _attempted_row(job)
        else:
            wanted = RegisteredModel.objects.filter(key=job.subject, wanted=True).first()
            row = _locked(wanted, job.node or settings.NOA_NODE) if wanted and job.state == JobState.FAILED else None
        if row is not None and job.state == JobState.FAILED:
            _count(row, job.error_message, is_death=job.error_code not in _REFUSALS)
        elif row is not None and job.state == JobState.CANCELLED:
            _end_desire(row)
    # The triggered check records a successful recovery.
    signals.recovery_due.send(sender=Recovery)


def _attempted_row(job: Job) -> Recovery | None:
    """The locked row whose attempt this job is; None when its result was counted already."""
    found = Recovery.objects.filter(attempt=job.pk).select_related("model").first()
    row = _locked(found.model, found.node) if found is not None else None
    return row if row is not None and row.attempt == job.pk else None


def _end_desire(row: Recovery) -> None:
    """An operator has cancelled the attempt: the model is not part of the desired state any more."""
    if not instances.copies(model=row.model).exists():
        RegisteredModel.objects.filter(pk=row.model_id).update(wanted=False)
    row.due_at = row.back_at = row.attempt = None
    row.save()
    routing.bump()


def release_hold(*, instance: Instance) -> None:
    """End the `not_before` of a recovery: only the backoff after its deaths remains."""
    with transaction.atomic():
        row = _locked(instance.model, instance.node)
        now = time()
        died = min(max(row.deaths, default=0.0), now)
        pause = policy.next_attempt(row.deaths, refusals=row.refusals, now=died).pause
        if row.due_at is None or row.given_up_at is not None or pause is None:
            return
        row.due_at = _moment(max(died + pause, now))
        row.save(update_fields=["due_at"])
        transaction.on_commit(lambda: signals.recovery_due.send(sender=Recovery))


def _count(row: Recovery, reason: str, *, is_death: bool, not_before: float = 0.0, served: float = 0.0) -> None:
    """Count a death or a refusal, and schedule the next attempt. Call in a transaction, with the row locked.

    `served` is for how many seconds the model had served before its death.
    """
    desired = RegisteredModel.objects.filter(pk=row.model_id, wanted=True).exists()
    now = time()
    deaths = policy.remembered(row.deaths, now=now)
    row.deaths = [*deaths, now] if is_death else deaths
    row.refusals = 0 if is_death else row.refusals + 1
    row.reason, row.attempt = reason, None
    pause = policy.next_attempt(row.deaths, refusals=row.refusals, now=now).pause
    was_given_up = row.given_up_at is not None or (row.times_given_up > 0 and served < policy.WINDOW_SECONDS)
    if is_death and (was_given_up or pause is None):
        row.times_given_up = row.times_given_up + 1 if was_given_up else 1
        row.given_up_at = timezone.now()
    elif row.given_up_at is None:
        row.times_given_up = row.times_given_up if was_given_up else 0
    if row.given_up_at is not None:
        pause = policy.rest(row.times_given_up)
    pause = max(pause or 0.0, not_before)
    row.due_at = _moment(now + pause) if desired else None
    # Requests wait for a model that comes back soon, not for one that was given up.
    row.back_at = _moment(now + pause + load_seconds(row.model)) if desired and row.given_up_at is None else None
    row.save()
    if row.given_up_at is not None:
        recovery_facts.record_given_up(row)
    routing.bump()
    transaction.on_commit(lambda: signals.recovery_due.send(sender=Recovery))


def _locked(model: RegisteredModel, node: str) -> Recovery:
    """The row, locked until this transaction ends; after the lock of writers, which all of them take first."""
    events.take_lock()
    row, _ = Recovery.objects.get_or_create(model=model, node=node)
    return Recovery.objects.select_for_update(of=("self",)).select_related("model").get(pk=row.pk)


def load_seconds(model: RegisteredModel) -> float:
    """The expected duration of the next load: that of the last one."""
    known = Instance.objects.filter(model=model, load_seconds__isnull=False).order_by("-created_at")
    return known.values_list("load_seconds", flat=True).first() or _DEFAULT_LOAD_SECONDS


def next_attempt(*, model: RegisteredModel) -> datetime | None:
    """When the model is loaded again; None when NOA does not do so by itself."""
    rows = Recovery.objects.filter(model=model, due_at__isnull=False).order_by("due_at")
    return rows.values_list("due_at", flat=True).first()


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
    # Read once: a copy that begins to start between two queries would look as if the model served elsewhere.
    copies = list(instances.copies(model=row.model))
    mine = next((copy for copy in copies if copy.node == row.node), None)
    if mine is not None and mine.state == InstanceState.READY:
        _settle(row, mine)
        return None
    ready = sum(copy.state == InstanceState.READY for copy in copies)
    if not row.model.wanted or (mine is None and ready >= row.model.replicas):
        if row.due_at is not None:
            _cancel(row)
        return None
    if row.attempt is not None:
        _look_after(row.attempt)
        return None
    # One that starts can still fail.
    if mine is not None or len(copies) >= row.model.replicas or _due_times.left(row) > 0:
        return None
    return _request_load(row)


def _look_after(attempt: UUID) -> None:
    """Count an attempt that has ended without a notification of this process, for example by a cancel elsewhere."""
    job = Job.objects.filter(pk=attempt).first()
    if job is not None and job.state in ACTIVE_JOB_STATES:
        return
    if job is not None and job.state != JobState.SUCCEEDED:
        attempted(job=job)
    else:
        Recovery.objects.filter(attempt=attempt).update(attempt=None)


class _DueTimes:
    """When this process's attempts are due, by its monotonic clock: the wall clock can be set meanwhile.

    The row has the time by the wall clock, for display and for the next worker of the node. If the pause that is left
    by it is longer than the pause that the policy gave, the clock was set back.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[datetime | None, float]] = {}

    def left(self, row: Recovery) -> float:
        """Seconds until the attempt is due; negative when it is overdue."""
        due_at = row.due_at or recovery_facts.next_attempt_at(row)
        known = self._known.get(row.pk)
        if known is None or known[0] != due_at:
            left = due_at.timestamp() - time() if due_at else 0.0
            known = self._known[row.pk] = (due_at, monotonic() + min(max(0.0, left), _longest_pause(row)))
        return known[1] - monotonic()


_due_times = _DueTimes()


def _longest_pause(row: Recovery) -> float:
    if row.given_up_at is not None:
        return policy.rest(row.times_given_up)
    died = max(row.deaths, default=0.0)
    pause = policy.next_attempt(row.deaths, refusals=row.refusals, now=died).pause
    return max(policy.LONGEST_PAUSE_SECONDS if pause is None else pause, _HOLD_SECONDS)


def _request_load(row: Recovery) -> Job | None:
    """Create the job of one attempt, and enter it in the row, in one transaction: its end cannot be missed."""
    with transaction.atomic():
        mine = _locked(row.model, row.node)
        if mine.attempt is not None or mine.due_at != row.due_at or _is_being_loaded(row.model):
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
        mine.attempt = job.pk
        if mine.given_up_at is None:
            mine.back_at = _moment(time() + load_seconds(row.model))
        mine.save(update_fields=["attempt", "back_at"])
    return job


def _is_being_loaded(model: RegisteredModel) -> bool:
    return Job.objects.filter(kind=JobKind.LOAD, subject=model.key, state__in=ACTIVE_JOB_STATES).exists()


def _settle(row: Recovery, serving: Instance) -> None:
    """End the recovery of a model that serves again.

    An operator who loads a model that was given up clears its recorded deaths; after an attempt of NOA's own they count
    until it has served for a while.
    """
    was_given_up = row.given_up_at is not None
    with transaction.atomic():
        mine = _locked(row.model, row.node)
        if (mine.due_at, mine.given_up_at) != (row.due_at, row.given_up_at):
            return
        mine.due_at = mine.back_at = mine.given_up_at = mine.attempt = None
        mine.refusals = 0
        if was_given_up and not _was_automatic(row.model):
            mine.deaths, mine.times_given_up = [], 0
        mine.save()
        routing.bump()
        if not was_given_up or _was_automatic(row.model):
            recovery_facts.record_recovered(row, serving)


def _was_automatic(model: RegisteredModel) -> bool:
    """Whether its last load was not an operator's."""
    loads = Job.objects.filter(kind=JobKind.LOAD, subject=model.key, state=JobState.SUCCEEDED)
    return loads.order_by("-finished_at").values_list("actor", flat=True).first() in _AUTOMATIC


def _cancel(row: Recovery) -> None:
    """End the recovery of a model that is no longer part of the desired state, or serves on other nodes."""
    with transaction.atomic():
        mine = _locked(row.model, row.node)
        if mine.due_at == row.due_at:
            mine.due_at = mine.back_at = mine.attempt = None
            mine.save()
            routing.bump()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
