"""Background work: created, and run step by step. The only writer of job states."""

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
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Cancelled, Conflict, Interrupted, NoaError, NotFound
from models_app.domain.residency.ledger import LedgerCause, Origin, cause_of
from models_app.domain.states import ACTIVE_JOB_STATES, TERMINAL_JOB_STATES, JobKind, JobState, job_sources_of
from models_app.models import Job
from models_app.services.coordination import connections, notifications, signals
from models_app.services.jobs import job_events, queues

logger = logging.getLogger(__name__)

# Between looks at the row: another process can have cancelled the job.
_POLL_SECONDS = 0.25
# By which the clocks of machines differ, at most.
_CLOCKS_DIFFER_BY = timedelta(seconds=5)
# The conflicting job can end between the insert and the query.
_INSERT_ATTEMPTS = 10
# The jobs that run in this process; a cancel here takes effect without reading the row.
_runs: dict[uuid.UUID, Run] = {}

# The causes of events of jobs that do more than their subject.
_CAUSES = {JobKind.SWITCH: "a route is moved", JobKind.RESTORE: "a state is restored"}
# Why a job of this kind has passed its commit point.
_TOO_LATE = {
    JobKind.LOAD: "the model is already loaded; unload it",
    JobKind.UNLOAD: "the model accepts no requests any more and is being stopped; load it again afterwards",
    JobKind.SWITCH: "the route has already moved; switch it back, or roll it back",
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
    key_id: str = "",
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
        key_id=key_id,
    )
    for attempts_left in reversed(range(_INSERT_ATTEMPTS)):
        try:
            _insert(row)
        except IntegrityError:
            same = Job.objects.filter(kind=kind, subject=subject, asked_node=asked_node)
            active = same.filter(state__in=ACTIVE_JOB_STATES).first()
            if active is not None:
                return _share(active, row), False
            if not attempts_left:
                raise
        else:
            break
    return row, True


@transaction.atomic
def _insert(row: Job) -> None:
    """Raises IntegrityError while an active job of the same kind, subject and node exists."""
    row.save(force_insert=True)
    notifications.announce()


def _share(active: Job, requested: Job) -> Job:
    if active.arguments != requested.arguments:
        raise Conflict(
            f"Job {active.id} ({active.kind} {active.subject}) is under way with other options. "
            "Wait for it to end, then retry.",
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
    """A running job, to which a service reports its steps and its progress.

    `step` and `progress` raise Cancelled after a cancel was requested; a loop without either calls `check_cancelled`.
    The service then undoes its work: from there on nothing raises it again. A job works for minutes between two
    reports: after each of them its thread holds no database connection.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: dict[str, Any] = {}
        self.cancel_seen = False
        self._shielded = False
        # Set by a cancel in this process.
        self.cancel_requested = threading.Event()
        self._checked_at = monotonic()

    @property
    def actor(self) -> str:
        return self.job.actor

    @property
    def cause(self) -> str:
        """The cause of this job's events."""
        return _CAUSES.get(JobKind(self.job.kind), "requested")

    @property
    def origin(self) -> Origin:
        """The origin of the facts that this job records."""
        cause = LedgerCause(self.job.cause) if self.job.cause else cause_of(self.actor)
        return Origin(cause, self.actor, self.job.request_id, self.job.pk)

    @contextmanager
    def step(self, name: str, detail: str = "") -> Iterator[Callable[[str], None]]:
        """Record a step of the job with its duration and outcome. Raises Cancelled before it begins.

        Yields a function that changes the step's detail.
        """
        self._check_row()
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

        def set_detail(text: str) -> None:
            if text != entry["detail"]:
                entry["detail"] = text
                self._save_steps()

        try:
            yield set_detail
        except BaseException:
            entry["state"] = "failed"
            raise
        else:
            entry["state"] = "done"
        finally:
            entry["seconds"] = round(monotonic() - started, 3)
            self._save_steps()

    def progress(self, fraction: float) -> None:
        """Store the completed share of the whole job, 0 to 1."""
        self.check_cancelled()
        self.job.progress = round(min(1.0, max(self.job.progress, fraction)), 3)
        self.job.save(update_fields=["progress"])
        connections.release()

    def check_cancelled(self) -> None:
        """Raises Cancelled after a cancel was requested. Cheap enough for every iteration of a loop."""
        if self.cancel_requested.is_set() or monotonic() - self._checked_at >= _POLL_SECONDS:
            self._check_row()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Complete the work inside: nothing in it raises Cancelled."""
        before, self._shielded = self._shielded, True
        try:
            yield
        finally:
            self._shielded = before

    def _check_row(self) -> None:
        if not self._shielded:
            self._raise_if_cancelled()

    def commit_point(self) -> None:
        """From here on the job cannot be cancelled; raises Cancelled when a cancel came first.

        Call it in the transaction of the change that cannot be undone, or right before it.
        """
        if self.cancel_seen:
            return
        passed = Job.objects.filter(pk=self.job.pk, cancel_requested_at=None).update(cancellable=False)
        if not passed:
            self._raise_if_cancelled()

    def _raise_if_cancelled(self) -> None:
        self._checked_at = monotonic()
        if self.cancel_seen:
            return
        row = list(Job.objects.filter(pk=self.job.pk).values_list("cancel_requested_at", "cancelled_by"))
        connections.release()
        for requested_at, by in row:
            if requested_at is not None:
                self.cancel_seen = True
                raise Cancelled(_by(by))

    def _save_steps(self) -> None:
        self.job.save(update_fields=["steps"])
        connections.release()


@contextmanager
def run(*, job_id: str, node: str) -> Iterator[Run | None]:
    """Run a queued job. Yields None when another worker runs it: a message that arrives twice does nothing.

    A NoaError is stored in the job's row, with its code and message; any other error is stored as `internal_error` and
    raised.
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
        # Without a cancel of this job, the load that it shared was cancelled.
        state = JobState.CANCELLED if current.cancel_seen else JobState.FAILED
        _finish(current, state, error.code, error.message)
    except Interrupted:
        _put_back(current)
    except NoaError as error:
        _finish(current, JobState.FAILED, error.code, error.message)
    except BaseException:
        message = f"Internal error. The server log has the details under job {current.job.pk}."
        # The traceback follows: the error is raised.
        logger.error("job %s failed with an unexpected error", current.job.pk)
        _finish(current, JobState.FAILED, "internal_error", message)
        raise
    else:
        _finish(current, JobState.SUCCEEDED, "", "")
    finally:
        del _runs[current.job.pk]


@transaction.atomic
def _put_back(current: Run) -> None:
    """Requeue the job of a stopping worker, whose work is undone, for the next worker."""
    fresh = {"steps": [], "progress": 0.0, "cancellable": True, "started_at": None, "node": ""}
    if _move(str(current.job.pk), JobState.QUEUED, **fresh):
        job_events.publish_requeued(current.job)


def _finish(current: Run, state: JobState, code: str, message: str) -> None:
    fields: dict[str, Any] = {"result": current.result or None, "error_code": code, "error_message": message}
    if state == JobState.SUCCEEDED:
        fields["progress"] = 1.0
    end(job_id=str(current.job.pk), state=state, **fields)


def end(*, job_id: str, state: JobState, **fields: Any) -> bool:
    """Move a job to a final state and wake the threads that wait for it; False when it was in one already."""
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
        job_events.publish_cancelled(job)
    return job


def _wake(job: Job) -> None:
    signals.job_finished.send(sender=Job, job=job)


def cancel(*, job_id: uuid.UUID, actor: str) -> Job:
    """Cancel a job: at once while it is queued, else at its next step. Idempotent.

    Raises NotFound, or Conflict `job_ended` or `not_cancellable`.
    """
    job = get(job_id=job_id)
    request = {"cancel_requested_at": timezone.now(), "cancelled_by": actor}
    if job.state == JobState.QUEUED and _end_queued(job, request):
        return get(job_id=job_id)
    requested = Job.objects.filter(
        pk=job_id, state=JobState.RUNNING, cancellable=True, cancel_requested_at=None
    ).update(**request)
    run = _runs.get(job_id)
    if requested and run is not None:
        run.cancel_requested.set()
    job = get(job_id=job_id)
    if not requested:
        _refuse_late_cancel(job)
    return job


def _end_queued(job: Job, request: dict[str, Any]) -> bool:
    error = {"error_code": Cancelled.default_code, "error_message": _by(request["cancelled_by"])}
    with transaction.atomic():
        # Only from `queued`: a worker can start it at this moment, and must then end it itself.
        if not Job.objects.filter(pk=job.pk, state=JobState.QUEUED).update(**request):
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
        why = _TOO_LATE.get(JobKind(job.kind), "it has begun a step that cannot be undone")
        raise Conflict(
            f"Job {job.pk} cannot be cancelled any more: {why}.",
            code="not_cancellable",
            details={"job": str(job.pk)},
        )


def _by(actor: str) -> str:
    return f"The job was cancelled by {actor or 'an unknown actor'}."


def _move(job_id: str, state: JobState, **fields: Any) -> bool:
    moved = Job.objects.filter(pk=job_id, state__in=job_sources_of(state)).update(state=state, **fields)
    return moved == 1


def unclaimed(*, older_than: timedelta) -> list[Job]:
    """The jobs for this node, or for any node, that have been queued for longer than that, oldest first.

    Those of the future too: they were queued before the clock was set back.
    """
    is_old = Q(created_at__lte=Now() - older_than) | Q(created_at__gt=Now() + _CLOCKS_DIFFER_BY)
    waiting = Job.objects.filter(is_old, state=JobState.QUEUED, queue__in=queues.own())
    return list(waiting.order_by("created_at"))
