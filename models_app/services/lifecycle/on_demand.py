"""Loads on demand: all requests that wait for a model share one load and its expected time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from django.db import transaction
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import (
    Cancelled,
    Conflict,
    InsufficientMemory,
    LoadFailed,
    ModelFileError,
    NoaError,
    Unavailable,
)
from models_app.domain.residency import demand as rules
from models_app.domain.residency import recovery
from models_app.domain.residency.demand import ColdModel, ModelDemand, Outlook, Permission
from models_app.domain.residency.ledger import LedgerCause
from models_app.domain.residency.suspects import Death
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind, JobState
from models_app.models import Instance, Job, Recovery, RegisteredModel
from models_app.services.catalog import lookup
from models_app.services.jobs import jobs
from models_app.services.lifecycle import demand, loading, switching
from models_app.services.routes import routing, suspects
from models_app.services.runners import instances
from models_app.services.runners.recovery_facts import next_attempt_at

CLEAN_UP_SECONDS = 60.0
# The clocks of machines differ by less. What is further in the future happened before the clock was set back.
_CLOCKS_DIFFER_BY = 5.0
# The actor of these loads in jobs, events and the ledger.
ACTOR = "gateway"
# Loads from which the duration of the next one is estimated.
_HISTORY = 5
# Errors that the model did not cause: the next request can retry at once.
_RETRY_AT_ONCE = frozenset({Cancelled.default_code, "load_cancelled", "interrupted"})
# A temporary lack of memory or capacity.
_RETRY_LATER = frozenset({"no_room_in_time", "too_many_loads", Unavailable.default_code})
# The steps in which a load first takes memory, or calls a provider.
_FIRST_STEPS = frozenset({"start", "connect"})
_FILE_CODES = frozenset({"file_not_found", "file_unreadable", "not_a_file", "path_not_allowed", "model_file_invalid"})


@dataclass(frozen=True, slots=True)
class Attended:
    """`job` is the load to follow, if there is one; `created` if the caller must send it to a worker."""

    outlook: Outlook
    job: Job | None = None
    created: bool = False


def attend(*, model_demand: ModelDemand, job_id: uuid.UUID | None = None) -> Attended:
    """The outlook of the requests that wait for a model; requests its load when there is none.

    `job_id` is the load that was followed so far: all requests that waited for it get its failure.
    """
    try:
        model = lookup.get(key=model_demand.key)
    except NoaError as error:
        return _failed(error)
    followed = _load_of(model, job_id)
    if followed is not None and followed.state in ACTIVE_JOB_STATES:
        return Attended(_coming(model), followed)
    if followed is not None and followed.state != JobState.SUCCEEDED:
        return _failed(_failure(followed))
    instance = instances.serving(model=model)
    if instance is not None:
        return Attended(_coming(model, instance))
    if switching.replaced(model=model):
        return Attended(_coming(model))
    return _recovering(model) or _request_load(model, model_demand)


def obstacle(*, key: str, permission: Permission) -> NoaError | None:
    """The error of a request for a model that is not loaded; None if it would wait and be answered. Loads nothing."""
    try:
        model = lookup.get(key=key)
    except NoaError as error:
        return error
    if _active_load(model) or instances.serving(model=model) or switching.replaced(model=model):
        return None
    recovering = _recovering(model)
    return recovering.outlook.failure if recovering else _refusal(model, permission)


def died(*, death: Death) -> None:
    """Record that a runner ended with this request in flight."""
    if suspects.record(death=death):
        with transaction.atomic():
            routing.bump()


def retried(*, death: Death, survived: bool) -> None:
    """Record the outcome of a request that was sent again after such an end, or never will be."""
    with transaction.atomic():
        if suspects.close(death=death, survived=survived):
            routing.bump()


def clean_up() -> None:
    """Delete expired demand of web processes, and suspicions that no longer count."""
    demand.clear_expired()
    with transaction.atomic():
        if suspects.delete_expired():
            routing.bump()


def leave(*, key: str) -> Job | None:
    """Cancel a load that has not begun, unless other processes need it; the last waiting request here has left."""
    model = RegisteredModel.objects.filter(key=key).first()
    if model is None or demand.is_waited_for(model=model):
        return None
    job = _active_load(model)
    if job is None or job.actor != ACTOR or _has_begun(job):
        return None
    try:
        return jobs.cancel(job_id=job.pk, actor=ACTOR)
    except Conflict:
        return None  # it has ended, or can no longer be cancelled


def _recovering(model: RegisteredModel) -> Attended | None:
    """The outlook after a runner's death; None when the model can be loaded now."""
    rows = list(Recovery.objects.filter(model=model))
    now = timezone.now()
    due = [row.back_at or now for row in rows if row.due_at is not None and row.given_up_at is None]
    if due:
        left = (min(due) - now).total_seconds()
        return Attended(Outlook(min(max(1.0, left), recovery.LONGEST_REST_SECONDS)))
    attempts = [moment for row in rows if (moment := _next_attempt(row, now)) is not None]
    if attempts and min(attempts) > now:
        return _failed(_given_up(model, min(attempts), now))
    if any(row.given_up_at and row.due_at for row in rows):
        # Its worker is about to try it.
        return Attended(Outlook(1.0))
    known = [moment for row in rows for moment in row.deaths if moment - now.timestamp() < _CLOCKS_DIFFER_BY]
    deaths = sorted(min(moment, now.timestamp()) for moment in known)
    if not deaths or attempts:
        return None
    # For models outside the desired state, recovery only counts the deaths and leaves the loads to requests.
    pause = recovery.next_attempt(deaths, refusals=0, now=now.timestamp()).pause
    if pause is None:
        after = datetime.fromtimestamp(deaths[-1] + recovery.FIRST_REST_SECONDS, UTC)
        return _failed(_given_up(model, after, now)) if after > now else None
    left = deaths[-1] + pause - now.timestamp()
    return Attended(Outlook(left)) if left > 0 else None


def _next_attempt(row: Recovery, now: datetime) -> datetime | None:
    """When a model that was given up can be loaded; now if that seems further away than its rest.

    Then the clock was set back. A worker that tries it observes its pauses by a clock of its own.
    """
    moment = next_attempt_at(row)
    if moment is None or row.due_at is not None:
        return moment
    longest = recovery.rest(row.times_given_up) + _CLOCKS_DIFFER_BY
    return min(moment, now) if (moment - now).total_seconds() > longest else moment


def _given_up(model: RegisteredModel, next_attempt: datetime, now: datetime) -> NoaError:
    left = min((next_attempt - now).total_seconds(), recovery.LONGEST_REST_SECONDS)
    return Unavailable(
        f"'{model.key}' is not loaded now: its runner died repeatedly; its events have the reasons. The next attempt "
        f"is in {max(1, round(left))} seconds. To try it at once, use the console or POST /api/v1/models/load.",
        code="recovery_given_up",
        retry_after=max(1, ceil(left)),
        details={"next_attempt_at": next_attempt.isoformat()},
    )


def _refusal(model: RegisteredModel, permission: Permission) -> NoaError | None:
    """Why no load begins for a request; None if one can."""
    if not permission.load:
        return ColdModel(model.key)
    last = _last_load(model)
    if last is not None and last.state == JobState.FAILED and last.finished_at is not None:
        ago = (timezone.now() - last.finished_at).total_seconds()
        # A load that ended in the future ended before the clock was set back.
        if ago >= 0 and rules.rest_left(ago) > 0 and last.error_code not in _RETRY_AT_ONCE:
            return _failure(last)
    try:
        loading.check_loadable(model=model, options=LoadOptions())
    except NoaError as error:
        return error
    return None


def _request_load(model: RegisteredModel, model_demand: ModelDemand) -> Attended:
    refusal = _refusal(model, model_demand.permission)
    if refusal is not None:
        return _conflicting(model, refusal)
    try:
        job, created = jobs.create(
            kind=JobKind.LOAD,
            subject=model.key,
            arguments={},
            options=LoadOptions(),
            actor=ACTOR,
            cause=LedgerCause.REQUEST,
            request_id=model_demand.request_id,
            may_evict=model_demand.permission.evict,
        )
    except NoaError as error:
        return _conflicting(model, error)
    return Attended(_coming(model), job, created)


def _conflicting(model: RegisteredModel, error: NoaError) -> Attended:
    other = _active_load(model) if error.code == "job_in_progress" else None
    # Another job loads it with other options, which can serve the requests as well.
    return Attended(_coming(model), other) if other else _failed(error)


def _coming(model: RegisteredModel, instance: Instance | None = None) -> Outlook:
    elapsed = 0.0
    predicted = None
    if instance is not None:
        elapsed = max(0.0, (timezone.now() - instance.created_at).total_seconds())
        predicted = instance.predicted_load_seconds
    known = [predicted] if predicted else _load_seconds(model)
    return Outlook(rules.expected_seconds(known, elapsed))


def _load_seconds(model: RegisteredModel) -> list[float]:
    """Seconds that the last loads of the present version took."""
    loads = Instance.objects.filter(model=model, version=model.version_id)
    last = loads.exclude(load_seconds=None).order_by("-ready_at")[:_HISTORY]
    return [seconds for seconds in last.values_list("load_seconds", flat=True) if seconds]


def _load_of(model: RegisteredModel, job_id: uuid.UUID | None) -> Job | None:
    if job_id is not None:
        return Job.objects.filter(pk=job_id).first()
    return _active_load(model)


def _active_load(model: RegisteredModel) -> Job | None:
    return Job.objects.filter(kind=JobKind.LOAD, subject=model.key, state__in=ACTIVE_JOB_STATES).first()


def _last_load(model: RegisteredModel) -> Job | None:
    return Job.objects.filter(kind=JobKind.LOAD, subject=model.key).first()


def _has_begun(job: Job) -> bool:
    """Whether the model is being loaded: finishing is then worth more than what a cancel would free."""
    return any(step["name"] in _FIRST_STEPS for step in job.steps)


def _failed(error: NoaError) -> Attended:
    return Attended(Outlook(failure=error))


def _failure(job: Job) -> NoaError:
    """The failure of a load, as the error of the requests that waited for it."""
    code, message = job.error_code, job.error_message
    if code in _RETRY_AT_ONCE:
        return Unavailable(message, code=code, retry_after=1)
    rest = int(rules.REST_SECONDS)
    if code in _RETRY_LATER:
        return Unavailable(message, code=code, retry_after=rest)
    if code == InsufficientMemory.default_code:
        return InsufficientMemory(message, retry_after=rest)
    if code in _FILE_CODES:
        return ModelFileError(message, code=code)
    return LoadFailed(message, stage="load", code=code)
