"""Background work: created, run step by step, waited for. The only writer of job states."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from models_app.domain.errors import Conflict, NoaError, NotFound
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    TERMINAL_JOB_STATES,
    JobKind,
    JobState,
    job_sources_of,
)
from models_app.models import Job
from models_app.services import signals

logger = logging.getLogger(__name__)

# The net below the signal of this process: another process may have finished the job.
_LOOK_EVERY = 0.25
_finished = threading.Condition()


def create(
    *, kind: JobKind, subject: str, arguments: dict[str, Any], actor: str
) -> tuple[Job, bool]:
    """A queued job and True, or the one that does the same already and False.

    Raises Conflict when work on the same subject is under way with other arguments.
    """
    try:
        with transaction.atomic():
            return Job.objects.create(
                kind=kind, subject=subject, arguments=arguments, actor=actor
            ), True
    except IntegrityError:
        active = Job.objects.filter(kind=kind, subject=subject, state__in=ACTIVE_JOB_STATES).first()
    if active is None:
        # It ended between our insert and our look.
        return create(kind=kind, subject=subject, arguments=arguments, actor=actor)
    if active.arguments != arguments:
        raise Conflict(
            f"Job {active.id} ({kind} {subject}) is under way with other options. "
            "Wait for it to end, then ask again.",
            code="job_in_progress",
            details={"job": str(active.id)},
        )
    return active, False


def get(*, job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NotFound(f"There is no job {job_id}.", code="job_not_found", param="job_id")
    return job


class Run:
    """A job while it runs: what a service reports its steps and its progress to."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: dict[str, Any] = {}

    @property
    def actor(self) -> str:
        return self.job.actor

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[None]:
        """Record a step of the job with its duration and how it ended."""
        started = monotonic()
        entry: dict[str, Any] = {
            "name": name,
            "state": "running",
            "started_at": timezone.now().isoformat(),
            "seconds": None,
            "detail": detail,
        }
        self.job.steps.append(entry)
        self._save_steps()
        try:
            yield
        except BaseException:
            entry["state"] = "failed"
            raise
        else:
            entry["state"] = "done"
        finally:
            entry["seconds"] = round(monotonic() - started, 3)
            self._save_steps()

    def progress(self, fraction: float) -> None:
        """How much of the whole job is done, 0 to 1."""
        self.job.progress = round(min(1.0, max(self.job.progress, fraction)), 3)
        self.job.save(update_fields=["progress"])

    def _save_steps(self) -> None:
        self.job.save(update_fields=["steps"])


@contextmanager
def run(*, job_id: str, node: str) -> Iterator[Run | None]:
    """Run a queued job. Yields None when another worker has it: a message that came twice does nothing.

    Errors of NOA end in the job's row, with code and sentence; any other error ends there too and is raised.
    """
    if not _move(job_id, JobState.RUNNING, started_at=timezone.now(), node=node):
        logger.info("job %s is not queued any more, nothing to do", job_id)
        yield None
        return
    current = Run(Job.objects.get(pk=job_id))
    try:
        yield current
    except NoaError as error:
        _finish(current, JobState.FAILED, error.code, error.message)
    except BaseException:
        message = "NOA failed in a way it does not know. The server's log tells more."
        _finish(current, JobState.FAILED, "internal_error", message)
        raise
    else:
        _finish(current, JobState.SUCCEEDED, "", "")


def _finish(current: Run, state: JobState, code: str, message: str) -> None:
    fields: dict[str, Any] = {
        "result": current.result or None,
        "error_code": code,
        "error_message": message,
    }
    if state == JobState.SUCCEEDED:
        fields["progress"] = 1.0
    end(job_id=str(current.job.pk), state=state, **fields)


def end(*, job_id: str, state: JobState, **fields: Any) -> bool:
    """Move a job to a final state and wake who waits for it; False when it was there already."""
    if not _move(job_id, state, finished_at=timezone.now(), **fields):
        return False
    signals.job_finished.send(sender=Job, job=Job.objects.get(pk=job_id))
    with _finished:
        _finished.notify_all()
    return True


def _move(job_id: str, state: JobState, **fields: Any) -> bool:
    moved = Job.objects.filter(pk=job_id, state__in=job_sources_of(state)).update(
        state=state, **fields
    )
    return moved == 1


def wait(*, job_id: uuid.UUID, seconds: float) -> Job:
    """The job, at its end or after `seconds`, whichever comes first."""
    deadline = monotonic() + seconds
    while True:
        job = get(job_id=job_id)
        remaining = deadline - monotonic()
        if job.state in TERMINAL_JOB_STATES or remaining <= 0:
            return job
        with _finished:
            _finished.wait(min(remaining, _LOOK_EVERY))
