"""Restores the desired state when a node starts."""

from __future__ import annotations

import logging

from django.conf import settings
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.events import EventName
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    LIVE_INSTANCE_STATES,
    InstanceState,
    JobKind,
    JobState,
    ModelStatus,
)
from models_app.engines import process
from models_app.models import Instance, Job, RegisteredModel, Route
from models_app.services.events import events
from models_app.services.jobs import jobs, queues
from models_app.services.runners import instances

logger = logging.getLogger(__name__)


def clean_up() -> None:
    """End the runners, instances and jobs that an earlier server of this node left. Call before any job runs."""
    left = Instance.objects.filter(node=settings.NOA_NODE, state__in=LIVE_INSTANCE_STATES)
    for instance in left.select_related("model"):
        if instance.pid and process.kill_orphan(instance.pid, instance.pid_identity, instance=str(instance.pk)):
            logger.warning("killed runner %s, left by an earlier server", instance.pid)
        instances.move(instance=instance, to=InstanceState.STOPPED)
    live = Instance.objects.filter(state__in=LIVE_INSTANCE_STATES)
    stuck = RegisteredModel.objects.filter(status__in=(ModelStatus.LOADING, ModelStatus.UNLOADING))
    stuck.exclude(pk__in=live.values("model")).update(status=ModelStatus.AVAILABLE, updated_at=timezone.now())
    begun = Job.objects.filter(state__in=ACTIVE_JOB_STATES, node=settings.NOA_NODE)
    # Where workers are separate programs, clients still wait, and the next worker runs the queued jobs.
    queued = Job.objects.filter(state=JobState.QUEUED, node="", queue__in=queues.own())
    for job in [*begun, *(queued if settings.NOA_EMBEDDED else ())]:
        jobs.end(
            job_id=str(job.pk),
            state=JobState.FAILED,
            error_code="interrupted",
            error_message="The server stopped before this job had ended. Submit it again.",
        )


def wanted_loads(*, actor: str = "restore") -> list[Job]:
    """Queued jobs for every model that should be loaded and is not, routes' targets first."""
    wanted = RegisteredModel.objects.filter(wanted=True).exclude(status=ModelStatus.LOADED)
    targets = set(Route.objects.values_list("target_id", flat=True))
    queued = []
    for model in sorted(wanted, key=lambda model: model.pk not in targets):
        job, created = jobs.create(
            kind=JobKind.LOAD, subject=model.key, arguments={}, options=LoadOptions(), actor=actor
        )
        if created:
            queued.append(job)
    if queued:
        keys = [job.subject for job in queued]
        events.publish(
            name=EventName.STATE_RESTORED,
            message=f"Loading the models of the desired state again: {', '.join(keys)}.",
            actor=actor,
            cause="the server started",
            data={"keys": keys},
        )
    return queued
