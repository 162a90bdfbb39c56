"""Runs the queued jobs whose message did not come: the broker was away, lost it, or this worker has stopped consuming.

So a job needs the database and a worker, and nothing else. Whoever is later, the message or the look, finds the job
taken and does nothing.
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

# The net where nobody tells of a job.
LOOK_SECONDS = 1.0
# What a message has to arrive. Shorter, and both ways would often meet at one job; longer, and a broker that is away
# would be felt.
_GRACE = timedelta(seconds=2)


class Pickup:
    """`look` finds jobs; each runs on a thread of its own, as many as a worker runs at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[object] = set()

    def look(self) -> None:
        for job in jobs.unclaimed(older_than=self._grace()):
            if not self._take_place(job.pk):
                continue
            threading.Thread(target=self._do, args=(job,), name="pickup", daemon=True).start()

    def _grace(self) -> timedelta:
        # Jobs of other web processes have no message at all where the worker is embedded.
        alone = settings.NOA_EMBEDDED and settings.NOA_WEB_PROCESSES > 1
        return timedelta(0) if alone else _GRACE

    def _take_place(self, pk: object) -> bool:
        with self._lock:
            if pk in self._running or len(self._running) >= settings.CELERY_WORKER_CONCURRENCY:
                return False
            self._running.add(pk)
            return True

    def _do(self, job: Job) -> None:
        try:
            queueing.task_of(job).run(str(job.pk))
        except DatabaseError:
            logger.warning("job %s could not be run; later", job.pk, exc_info=True)
        finally:
            connection.close()
            with self._lock:
                self._running.discard(job.pk)


pickup = Pickup()
"""The one of this process."""
