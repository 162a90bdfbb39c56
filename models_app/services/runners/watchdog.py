"""Finds what is stuck: every state that should pass has a deadline, and somebody who ends it when it does not.

`Watch` compares this node's rows with its processes; `end_lost_jobs` looks after what workers left that have gone. Each
finding ends in one event and one truth.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState, JobState
from models_app.models import Instance, Job, Node
from models_app.services.events import events
from models_app.services.jobs import job_events, jobs
from models_app.services.nodes import nodes
from models_app.services.runners import instances, node, recovery

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
# Beyond their own deadline, for those who should keep it themselves.
_GRACE_SECONDS = 30.0
# A worker that comes back within this time after its heartbeat stopped goes on with its jobs.
_LOST_JOBS_AFTER = timedelta(seconds=3 * nodes.LOST_AFTER_SECONDS)
_ACTOR = "watchdog"


@dataclass(slots=True)
class Watch:
    """What one worker has seen, from look to look: only what is wrong twice in a row is wrong."""

    since: dict[tuple[UUID, InstanceState], float] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)

    def check(self) -> None:
        rows = Instance.objects.filter(node=settings.NOA_NODE, state__in=LIVE_INSTANCE_STATES)
        live = {str(one.pk): one for one in rows.select_related("model")}
        self._end_overdue(list(live.values()))
        self._compare(live, node.supervisor().instance_ids())
        _end_ownerless_jobs()

    def _end_overdue(self, live: list[Instance]) -> None:
        now = monotonic()
        marks = [(one.pk, InstanceState(one.state)) for one in live]
        self.since = {mark: self.since.get(mark, now) for mark in marks}
        for instance, mark in zip(live, marks, strict=True):
            allowed = _allowed_seconds(mark[1])
            if allowed is not None and now - self.since[mark] > allowed:
                _end_stuck(instance, allowed)

    def _compare(self, live: dict[str, Instance], running: set[str]) -> None:
        """Rows without a process serve nobody; processes without a row belong to nobody."""
        gone = {
            key for key, one in live.items() if one.state == InstanceState.READY and one.socket and key not in running
        }
        ownerless = running - live.keys()
        wrong = gone | ownerless
        for key in wrong & self.suspects:
            if key in gone:
                recovery.fail(
                    instance=live[key],
                    what="runner is not there any more",
                    reason="No process of this worker holds it, and nobody knows how it ended.",
                    actor=_ACTOR,
                )
            else:
                _end_ownerless_runner(key)
        self.suspects = wrong


def _allowed_seconds(state: InstanceState) -> float | None:
    """How long an instance may be in this state; None: for ever."""
    if state in (InstanceState.QUEUED, InstanceState.STARTING):
        return float(settings.NOA_LOAD_TIMEOUT) + _GRACE_SECONDS
    if state == InstanceState.DRAINING:
        return float(settings.NOA_DRAIN_TIMEOUT) + node.STOP_GRACE + _GRACE_SECONDS
    return None


def _end_stuck(instance: Instance, allowed: float) -> None:
    state = InstanceState(instance.state)
    node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
    if state == InstanceState.DRAINING:
        # What was wanted is done: it takes no memory any more.
        _stop(instance, allowed)
        return
    recovery.fail(
        instance=instance,
        what=f"load was still '{state}' after {allowed:.0f} seconds",
        reason="The load did not end by itself, so the watchdog ended it. Load it again.",
        actor=_ACTOR,
    )


def _stop(instance: Instance, allowed: float) -> None:
    with transaction.atomic():
        if instances.move(instance=instance, to=InstanceState.STOPPED):
            events.publish(
                name=EventName.MODEL_UNLOADED,
                subject=instance.model.key,
                message=f"{instance.model.key} was unloaded by the watchdog.",
                actor=_ACTOR,
                cause=f"it was still draining after {allowed:.0f} seconds",
                data={"instance": str(instance.pk)},
            )


def _end_ownerless_runner(instance_id: str) -> None:
    logger.warning("ending the runner of instance %s, which serves no more", instance_id)
    node.end_runner(instance_id=instance_id, grace=node.STOP_GRACE)
    events.publish(
        name=EventName.RUNNER_ENDED,
        subject=instance_id,
        message=f"A runner was ended whose instance {instance_id} serves no more.",
        actor=_ACTOR,
        cause="no instance",
    )


def _end_ownerless_jobs() -> None:
    """Jobs that this node is said to run, and that nobody here runs."""
    begun = Job.objects.filter(
        state=JobState.RUNNING,
        node=settings.NOA_NODE,
        started_at__lt=timezone.now() - timedelta(seconds=INTERVAL_SECONDS),
    )
    for job in begun:
        if not jobs.runs_here(job_id=job.pk):
            _interrupt(job, "nobody runs it")


def end_lost_jobs() -> None:
    """Jobs of workers that have gone. One worker of all looks after them."""
    begun = Job.objects.filter(state=JobState.RUNNING).exclude(node__in=_living())
    for job in begun.exclude(node=settings.NOA_NODE):
        _interrupt(job, f"the worker of node '{job.node}' has gone")


def _living() -> QuerySet[Node, str]:
    """Names of the nodes whose worker lives, or has been silent for so short that it may come back."""
    beaten = timezone.now() - _LOST_JOBS_AFTER
    return Node.objects.filter(pid__isnull=False, heartbeat_at__gt=beaten).values_list("name", flat=True)


def _interrupt(job: Job, cause: str) -> None:
    ended = jobs.end(
        job_id=str(job.pk),
        state=JobState.FAILED,
        error_code="interrupted",
        error_message=f"The job did not end: {cause}. Ask for it again.",
    )
    if ended:
        job.refresh_from_db()
        job_events.tell_interrupted(job, cause=cause)
