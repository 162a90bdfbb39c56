"""Background work: created, run step by step, waited for. The only writer of job states."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Cancelled, Conflict, Interrupted, NoaError, NotFound
from models_app.domain.residency.ledger import LedgerCause, Origin, cause_of
from models_app.domain.states import (
    ACTIVE_JOB_STATES,
    TERMINAL_JOB_STATES,
    JobKind,
    JobState,
    job_sources_of,
)
from models_app.models import Job
from models_app.services.coordination import notifications, signals
from models_app.services.jobs import job_events, queues

logger = logging.getLogger(__name__)

# The net below the signals of this process: another process may have finished or cancelled the job.
_LOOK_EVERY = 0.25
_finished = threading.Condition()
# The jobs that run in this process; a cancel here is seen without a look at the row.
_runs: dict[uuid.UUID, Run] = {}

# What a job does on the way to what was requested.
_CAUSES = {JobKind.SWITCH: "a route is moved", JobKind.RESTORE: "a state is restored"}
# Why a job of this kind has passed the point up to which it can be cancelled.
_TOO_LATE = {
    JobKind.LOAD: "the model is loaded already; unload it",
    JobKind.UNLOAD: "the model takes no requests any more and is being stopped; load it again when that has ended",
    JobKind.SWITCH: "the route has moved already; switch it back, or roll it back",
}


def create(
    *,
    kind: JobKind,
    subject: str,
    arguments: dict[str, Any],
    actor: str,
    options: LoadOptions | None = None,
    cause: LedgerCause | None = None,
    request_id: str = "",
    may_evict: bool = True,
    asked_node: str = "",
) -> tuple[Job, bool]:
    """Create a queued job and return it with True, or the active job that does the same with False.

    `options` are those of a load, stored as the argument "options". The cause follows from the actor unless one is
    given; the queue is that of a node that can do the job. Raises Conflict while a job on the same subject is active
    with other arguments, and NotFound, Conflict or Unavailable where no node can do it. A shared job can evict when one
    of its requesters can. A job that names its node is not shared with jobs of other nodes.
    """
    stored = arguments if options is None else arguments | {"options": options.as_dict()}
    row = Job(
        kind=kind,
        subject=subject,
        arguments=stored,
        actor=actor,
        cause=cause or cause_of(actor),
        request_id=request_id,
        may_evict=may_evict,
        queue=queues.choose(kind=kind, subject=subject, arguments=arguments, options=options, asked_node=asked_node),
        asked_node=asked_node,
    )
    while not _insert(row):
        active = Job.objects.filter(
            kind=kind, subject=subject, asked_node=asked_node, state__in=ACTIVE_JOB_STATES
        ).first()
        if active is not None:
            return _share(active, row), False
        # The other job ended between the insert and the query: insert again.
    return row, True


def _insert(row: Job) -> bool:
    """False while an active job of the same kind, subject and node exists."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            notifications.announce()
    except IntegrityError:
        return False
    return True


def _share(active: Job, requested: Job) -> Job:
    if active.arguments != requested.arguments:
        raise Conflict(
            f"Job {active.id} ({active.kind} {active.subject}) is under way with other options. "
            "Wait for it to end, then ask again.",
            code="job_in_progress",
            details={"job": str(active.id)},
        )
    if requested.may_evict and not active.may_evict:
        Job.objects.filter(pk=active.pk).update(may_evict=True)
    return active


def runs_here(*, job_id: uuid.UUID) -> bool:
    """Whether this process runs the job now."""
    return job_id in _runs


def get(*, job_id: uuid.UUID) -> Job:
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NotFound(f"There is no job {job_id}.", code="job_not_found", param="job_id")
    return job


class Run:
    """A job while it runs: what a service reports its steps and its progress to.

    `step` and `progress` raise Cancelled when somebody wants the job to end; a loop without either asks by
    `check_cancelled`. The service then takes back what it did: from there on nothing raises it again.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: dict[str, Any] = {}
        self.cancel_seen = False
        self._shielded = False
        # Set by a cancel in this process.
        self.asked_to_end = threading.Event()
        self._looked_at = monotonic()

    @property
    def actor(self) -> str:
        return self.job.actor

    @property
    def cause(self) -> str:
        """Why what this job does happens, as events say it."""
        return _CAUSES.get(JobKind(self.job.kind), "requested")

    @property
    def origin(self) -> Origin:
        """What the facts of this job go back to."""
        cause = LedgerCause(self.job.cause) if self.job.cause else cause_of(self.actor)
        return Origin(cause, self.actor, self.job.request_id, self.job.pk)

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Callable[[str], None]]:
        """Record a step of the job with its duration and how it ended. Raises Cancelled before it begins.

        Yields what changes the step's detail.
        """
        self._look()
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

        def say(words: str) -> None:
            if words != entry["detail"]:
                entry["detail"] = words
                self._save_steps()

        try:
            yield say
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
        self.check_cancelled()
        self.job.progress = round(min(1.0, max(self.job.progress, fraction)), 3)
        self.job.save(update_fields=["progress"])

    def check_cancelled(self) -> None:
        """Raises Cancelled when somebody wants the job to end. Cheap: call it as often as you like."""
        if self.asked_to_end.is_set() or monotonic() - self._looked_at >= _LOOK_EVERY:
            self._look()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """What is done inside is done to its end: nothing in it raises Cancelled."""
        before, self._shielded = self._shielded, True
        try:
            yield
        finally:
            self._shielded = before

    def _look(self) -> None:
        if not self._shielded:
            self._raise_if_cancelled()

    def no_return(self) -> None:
        """From here on the job cannot be cancelled; raises Cancelled when somebody was faster.

        Call it in the transaction of the change that cannot be taken back, or right before it.
        """
        if self.cancel_seen:
            return
        passed = Job.objects.filter(pk=self.job.pk, cancel_requested_at=None).update(cancellable=False)
        if not passed:
            self._raise_if_cancelled()

    def _raise_if_cancelled(self) -> None:
        self._looked_at = monotonic()
        if self.cancel_seen:
            return
        wish = Job.objects.filter(pk=self.job.pk).values_list("cancel_requested_at", "cancelled_by")
        for requested_at, by in wish:
            if requested_at is not None:
                self.cancel_seen = True
                raise Cancelled(_by(by))

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
    _runs[current.job.pk] = current
    try:
        yield current
    except Cancelled as error:
        # Where nobody cancelled this job, it was the one that it shared.
        state = JobState.CANCELLED if current.cancel_seen else JobState.FAILED
        _finish(current, state, error.code, error.message)
    except Interrupted:
        _put_back(current)
    except NoaError as error:
        _finish(current, JobState.FAILED, error.code, error.message)
    except BaseException:
        message = "NOA failed in a way it does not know. The server's log tells more."
        _finish(current, JobState.FAILED, "internal_error", message)
        raise
    else:
        _finish(current, JobState.SUCCEEDED, "", "")
    finally:
        del _runs[current.job.pk]


@transaction.atomic
def _put_back(current: Run) -> None:
    """The worker stops, and nothing of the job is left: the next one does it."""
    fresh = {"steps": [], "progress": 0.0, "cancellable": True, "started_at": None, "node": ""}
    if _move(str(current.job.pk), JobState.QUEUED, **fresh):
        job_events.tell_requeued(current.job)


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
    job = _ended(job_id, state, fields)
    if job is None:
        return False
    _wake(job)
    return True


@transaction.atomic
def _ended(job_id: str, state: JobState, fields: dict[str, Any]) -> Job | None:
    if not _move(job_id, state, finished_at=timezone.now(), **fields):
        return None
    notifications.announce()
    job = Job.objects.get(pk=job_id)
    if state == JobState.CANCELLED:
        job_events.tell_cancelled(job)
    return job


def _wake(job: Job) -> None:
    signals.job_finished.send(sender=Job, job=job)
    _let_waiters_look()


def _let_waiters_look(**_: Any) -> None:
    with _finished:
        _finished.notify_all()


signals.database_changed.connect(_let_waiters_look)


def cancel(*, job_id: uuid.UUID, actor: str) -> Job:
    """The job: cancelled at once when it was only queued, else about to end. Twice is once.

    Raises NotFound, or Conflict `job_ended` or `not_cancellable`.
    """
    job = get(job_id=job_id)
    wish = {"cancel_requested_at": timezone.now(), "cancelled_by": actor}
    if job.state == JobState.QUEUED and _end_queued(job, wish):
        return get(job_id=job_id)
    asked = Job.objects.filter(pk=job_id, state=JobState.RUNNING, cancellable=True, cancel_requested_at=None).update(
        **wish
    )
    run = _runs.get(job_id)
    if asked and run is not None:
        run.asked_to_end.set()
    job = get(job_id=job_id)
    if not asked:
        _refuse_late_cancel(job)
    return job


def _end_queued(job: Job, wish: dict[str, Any]) -> bool:
    error = {"error_code": Cancelled.default_code, "error_message": _by(wish["cancelled_by"])}
    with transaction.atomic():
        # Only from `queued`: a worker may take it at this moment, and must then end it itself.
        if not Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(**wish):
            return False
        ended = _ended(str(job.pk), JobState.CANCELLED, error)
    if ended is not None:
        _wake(ended)
    return True


def _refuse_late_cancel(job: Job) -> None:
    if job.state in TERMINAL_JOB_STATES:
        raise Conflict(
            f"Job {job.pk} has ended already ({job.state}); there is nothing to cancel.",
            code="job_ended",
            details={"state": job.state},
        )
    if not job.cancellable:
        why = _TOO_LATE.get(JobKind(job.kind), "it has begun what cannot be taken back")
        raise Conflict(
            f"Job {job.pk} cannot be cancelled any more: {why}.",
            code="not_cancellable",
            details={"job": str(job.pk)},
        )


def _by(actor: str) -> str:
    return f"The job was cancelled by {actor or 'nobody known'}."


def _move(job_id: str, state: JobState, **fields: Any) -> bool:
    moved = Job.objects.filter(pk=job_id, state__in=job_sources_of(state)).update(state=state, **fields)
    return moved == 1


def unclaimed(*, older_than: timedelta) -> list[Job]:
    """The queued jobs of this node, and those of any node, that have waited for so long, oldest first."""
    return list(
        Job.objects.filter(state=JobState.QUEUED, queue__in=queues.own(), created_at__lte=Now() - older_than).order_by(
            "created_at"
        )
    )


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
