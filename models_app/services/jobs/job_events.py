"""Events of jobs that were cancelled, requeued or interrupted."""

from __future__ import annotations

from models_app.domain.events import EventName
from models_app.models import Job
from models_app.services.events import events


def publish_cancelled(job: Job) -> None:
    _publish(job, EventName.JOB_CANCELLED, "was cancelled", job.cancelled_by, "requested")


def publish_requeued(job: Job) -> None:
    what = "was put back into the queue for the next worker"
    _publish(job, EventName.JOB_REQUEUED, what, "worker", "the worker stopped")


def publish_interrupted(job: Job, *, cause: str) -> None:
    _publish(job, EventName.JOB_INTERRUPTED, "was interrupted", "watchdog", cause)


def _publish(job: Job, name: EventName, what: str, actor: str, cause: str) -> None:
    events.publish(
        name=name,
        subject=job.subject,
        message=f"The job that should {job.kind} {job.subject} {what}."
        if job.subject
        else f"The job '{job.kind}' {what}.",
        actor=actor,
        cause=cause,
        after={"state": job.state},
        job_id=job.pk,
        data={"kind": job.kind},
    )
