"""Hands jobs to workers. The job's row is the wish; a message only saves the worker the time until it looks."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from models_app.domain.states import JobKind
from models_app.models import Job
from models_app.tasks import discovery, lifecycle, nodes, probing, profiling, state

logger = logging.getLogger(__name__)

_TASKS = {
    JobKind.LOAD: lifecycle.load_model,
    JobKind.UNLOAD: lifecycle.unload_model,
    JobKind.SWITCH: lifecycle.switch_model,
    JobKind.DISCOVER: discovery.discover_models,
    JobKind.PROBE: probing.probe_capabilities,
    JobKind.PROFILE: profiling.profile_model,
    JobKind.RESTORE: state.restore_state,
    JobKind.DRAIN: nodes.drain_node,
}
# A broker that hangs takes its time-outs to say so. What does not fit is found by its worker's look.
_MAX_WAITING = 1000


def task_of(job: Job) -> Any:
    return _TASKS[JobKind(job.kind)]


def enqueue(job: Job) -> None:
    """Send a queued job's message, after the transaction that created the job. Neither waits nor fails."""
    if settings.NOA_EMBEDDED:
        if has_embedded_worker:
            task_of(job).delay_on_commit(str(job.pk))
    else:
        transaction.on_commit(lambda: _courier.take(job))


# The broker of an embedded worker ends at its process: others only announce the job's row.
has_embedded_worker = False


class Courier:
    """Publishes on a thread of its own: whoever asks for a job must not wait for a broker that is away."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Job] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, job: Job) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            logger.warning("job %s waits for its worker's look: too many messages wait", job.pk)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                task_of(job).apply_async((str(job.pk),), queue=job.queue, retry=False)
            except (OperationalError, OSError) as error:
                logger.warning("job %s waits for its worker's look: %s", job.pk, error)


_courier = Courier()
