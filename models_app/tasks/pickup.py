"""Runs queued jobs whose message did not arrive: the broker was down, lost it, or this worker has stopped consuming.

So a job needs only the database and a worker. The later of the two, the message or this poll, finds the job already
running and does nothing.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection

from models_app.models import Job
from models_app.services.jobs import jobs
from models_app.tasks import queueing

logger = logging.getLogger(__name__)

# The fallback where no notification announces a job.
INTERVAL_SECONDS = 1.0
# The time allowed for a message to arrive. If it is shorter, message and poll often start the same job; if it is
# longer, jobs wait visibly while the broker is down.
_GRACE = timedelta(seconds=2)


class Pickup:
    """`poll` finds jobs; each runs on its own thread, at most as many at a time as in a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[object] = set()

    def poll(self) -> None:
        for job in jobs.unclaimed(older_than=self._grace()):
            if not self._reserve(job.pk):
                continue
            threading.Thread(target=self._run, args=(job,), name="pickup", daemon=True).start()

    def _grace(self) -> timedelta:
        # Jobs of other web processes have no message at all where the worker is embedded.
        alone = settings.NOA_EMBEDDED and settings.NOA_WEB_PROCESSES > 1
        return timedelta(0) if alone else _GRACE

    def _reserve(self, pk: object) -> bool:
        with self._lock:
            if pk in self._running or len(self._running) >= settings.CELERY_WORKER_CONCURRENCY:
                return False
            self._running.add(pk)
            return True

    def _run(self, job: Job) -> None:
        try:
            queueing.task_of(job).run(str(job.pk))
        except DatabaseError:
            logger.warning("job %s could not be run; retrying", job.pk, exc_info=True)
        finally:
            connection.close()
            with self._lock:
                self._running.discard(job.pk)


pickup = Pickup()
"""The instance of this process."""
