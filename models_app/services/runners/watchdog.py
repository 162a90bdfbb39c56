"""Ends stuck loads, drains and jobs: every transient state has a deadline, after which the watchdog ends it.

`Watch` compares this node's rows with its processes; `end_lost_jobs` ends jobs of lost workers. Each finding is
published as one event.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.db import transaction

from models_app.clocks import awake
from models_app.domain.events import EventName
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState, JobState
from models_app.models import Instance, Job
from models_app.services.events import events
from models_app.services.jobs import job_events, jobs
from models_app.services.nodes import nodes
from models_app.services.nodes.observing import observer
from models_app.services.runners import instances, node, recovery

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
# Beyond the deadline that the load or drain itself enforces.
_GRACE_SECONDS = 30.0
# A worker that returns within this time after its heartbeat stopped continues its jobs.
_LOST_JOBS_AFTER = 3 * nodes.LOST_AFTER_SECONDS
_ACTOR = "watchdog"


@dataclass(slots=True)
class Watch:
    """The state of one worker's checks: only a problem in two checks in a row counts."""

    since: dict[tuple[UUID, InstanceState], float] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    idle_jobs: set[UUID] = field(default_factory=set)

    def check(self) -> None:
        rows = Instance.objects.filter(node=settings.NOA_NODE, state__in=LIVE_INSTANCE_STATES)
        live = {str(instance.pk): instance for instance in rows.select_related("model")}
        self._end_overdue(list(live.values()))
        self._compare(live, node.supervisor().instance_ids())
        self._end_orphaned_jobs()

    def _end_overdue(self, live: list[Instance]) -> None:
        now = awake()
        marks = [(instance.pk, InstanceState(instance.state)) for instance in live]
        self.since = {mark: self.since.get(mark, now) for mark in marks}
        for instance, mark in zip(live, marks, strict=True):
            allowed = _allowed_seconds(mark[1])
            if allowed is not None and now - self.since[mark] > allowed:
                _end_stuck(instance, allowed)

    def _compare(self, live: dict[str, Instance], running: set[str]) -> None:
        """Fail ready instances without a process; end processes without an instance."""
        gone = {
            key
            for key, instance in live.items()
            if instance.state == InstanceState.READY and instance.socket and key not in running
        }
        orphaned = running - live.keys()
        wrong = gone | orphaned
        for key in wrong & self.suspects:
            if key in gone:
                recovery.fail(
                    instance=live[key],
                    what="runner is gone",
                    reason="This worker has no process for it; how it ended is unknown.",
                    actor=_ACTOR,
                )
            else:
                _end_orphaned_runner(key)
        self.suspects = wrong

    def _end_orphaned_jobs(self) -> None:
        """End running jobs of this node that no thread of its worker runs."""
        begun = Job.objects.filter(state=JobState.RUNNING, node=settings.NOA_NODE)
        idle = {job.pk: job for job in begun if not jobs.runs_here(job_id=job.pk)}
        for pk in idle.keys() & self.idle_jobs:
            _interrupt(idle[pk], "no worker runs it")
        self.idle_jobs = set(idle)


def _allowed_seconds(state: InstanceState) -> float | None:
    """The seconds that an instance can be in this state; None without limit."""
    if state in (InstanceState.QUEUED, InstanceState.STARTING):
        return float(settings.NOA_LOAD_TIMEOUT) + _GRACE_SECONDS
    if state == InstanceState.DRAINING:
        return float(settings.NOA_DRAIN_TIMEOUT) + node.STOP_GRACE + _GRACE_SECONDS
    return None


def _end_stuck(instance: Instance, allowed: float) -> None:
    state = InstanceState(instance.state)
    node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
    if state == InstanceState.DRAINING:
        # The unload is complete: the instance holds no memory any more.
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


def _end_orphaned_runner(instance_id: str) -> None:
    logger.warning("ending the orphaned runner of instance %s", instance_id)
    node.end_runner(instance_id=instance_id, grace=node.STOP_GRACE)
    events.publish(
        name=EventName.RUNNER_ENDED,
        subject=instance_id,
        message=f"The orphaned runner of instance {instance_id} was ended.",
        actor=_ACTOR,
        cause="no instance",
    )


def end_lost_jobs() -> None:
    """End the jobs of lost workers. Only one of all workers runs this."""
    begun = Job.objects.filter(state=JobState.RUNNING).exclude(node__in=_living())
    for job in begun.exclude(node=settings.NOA_NODE):
        _interrupt(job, f"the worker of node '{job.node}' is gone")


def _living() -> set[str]:
    """Names of the nodes whose worker is alive, or lost so recently that it can still return, or not watched yet."""
    return {name for name, one in observer.look().items() if one.observed <= _LOST_JOBS_AFTER}


def _interrupt(job: Job, cause: str) -> None:
    ended = jobs.end(
        job_id=str(job.pk),
        state=JobState.FAILED,
        error_code="interrupted",
        error_message=f"The job did not end: {cause}. Submit it again.",
    )
    if ended:
        job.refresh_from_db()
        job_events.publish_interrupted(job, cause=cause)
