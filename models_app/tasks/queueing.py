"""Sends jobs to workers. The job's row is the request; the message only starts it before the worker's next poll."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from models_app.domain.states import JobKind
from models_app.models import Job
from models_app.tasks import discovery, lifecycle, nodes, probing, profiling, state
from models_app.threads import QueueThread

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
# A broker that hangs fails only after its time-outs. Jobs beyond the limit are found by their worker's poll.
_MAX_WAITING = 1000


def task_of(job: Job) -> Any:
    return _TASKS[JobKind(job.kind)]


def enqueue(job: Job) -> None:
    """Send a queued job's message after the current transaction commits. Neither blocks nor fails."""
    if settings.NOA_EMBEDDED:
        if has_embedded_worker:
            task_of(job).delay_on_commit(str(job.pk))
    else:
        transaction.on_commit(lambda: _announce(job))


# The broker of an embedded worker is in its process: other processes only write the job's row.
has_embedded_worker = False


def _announce(job: Job) -> None:
    if not _publisher.put(job):
        logger.warning("job %s waits for its worker's poll: the queue of messages is full", job.pk)


def _publish(job: Job) -> None:
    try:
        task_of(job).apply_async((str(job.pk),), queue=job.queue, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("job %s waits for its worker's poll: %s", job.pk, error)


# On a separate thread: a request must not wait for a broker that is down.
_publisher = QueueThread("job-publisher", _publish, _MAX_WAITING)
