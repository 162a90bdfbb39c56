"""Waiting for the end of jobs. All waiting threads of a process share one query, and none holds a connection."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from django.db import DatabaseError

from models_app.domain.errors import Unavailable
from models_app.domain.states import TERMINAL_JOB_STATES
from models_app.models import Job
from models_app.services.coordination import connections, signals
from models_app.services.jobs import jobs

logger = logging.getLogger(__name__)

# The fallback below the signals of this process: another process can have finished or cancelled the job.
_POLL_SECONDS = 0.25
# Requests that wait at once in this process. Each holds a thread and a socket, which other requests need too.
MAX_WAITING = 256
# When a place is likely to be free: most jobs end within seconds.
_RETRY_SECONDS = 5


class _Waiters:
    """The jobs that threads of this process wait for. One of the threads reads the table for all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: Counter[uuid.UUID] = Counter()
        self._ended: set[uuid.UUID] = set()
        self._is_reading = False
        self._read_at = 0.0

    @contextmanager
    def joined(self, job_id: uuid.UUID) -> Iterator[None]:
        with self._changed:
            self._jobs[job_id] += 1
        try:
            yield
        finally:
            with self._changed:
                self._jobs[job_id] -= 1
                if not self._jobs[job_id]:
                    del self._jobs[job_id]
                    self._ended.discard(job_id)

    def wait(self, job_id: uuid.UUID, deadline: float) -> None:
        """Return when the job has ended, or at the deadline."""
        while (remaining := deadline - monotonic()) > 0:
            with self._changed:
                if job_id in self._ended:
                    return
                is_reader = self._is_due()
                if not is_reader:
                    self._changed.wait(min(remaining, _POLL_SECONDS))
            if is_reader:
                self._read()

    def _is_due(self) -> bool:
        if self._is_reading or monotonic() - self._read_at < _POLL_SECONDS:
            return False
        self._is_reading = True
        return True

    def _read(self) -> None:
        with self._changed:
            # A wake during the query makes the next one due at once.
            self._read_at = monotonic()
            waited = list(self._jobs)
        ended: set[uuid.UUID] = set()
        try:
            rows = Job.objects.filter(pk__in=waited, state__in=TERMINAL_JOB_STATES)
            ended = set(rows.order_by().values_list("pk", flat=True))
        except DatabaseError:
            logger.warning("the jobs that requests wait for could not be read; retrying", exc_info=True)
        finally:
            connections.release()
            with self._changed:
                self._ended |= ended & self._jobs.keys()
                self._is_reading = False
                self._changed.notify_all()

    def wake(self) -> None:
        """Read the table now: a job can have ended."""
        with self._changed:
            self._read_at = 0.0
            self._changed.notify_all()


_waiters = _Waiters()


def _wake(**_: Any) -> None:
    _waiters.wake()


signals.job_finished.connect(_wake)
signals.database_changed.connect(_wake)


def wait(*, job_id: uuid.UUID, seconds: float) -> Job:
    """Wait for the end of a job, at most `seconds`; returns its current row. Holds no connection meanwhile."""
    deadline = monotonic() + seconds
    job = jobs.get(job_id=job_id)
    if job.state in TERMINAL_JOB_STATES or seconds <= 0:
        return job
    connections.release()
    with _waiters.joined(job_id):
        _waiters.wait(job_id, deadline)
    return jobs.get(job_id=job_id)


class Room:
    """Places for requests that wait; those of one caller are limited too, so that one cannot take all of them."""

    def __init__(self, places: int, *, share: int) -> None:
        self._places = places
        self._share = share
        self._lock = threading.Lock()
        self._callers: Counter[str] = Counter()

    @contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """Raises Unavailable when all places, or the share of the caller, are taken."""
        with self._lock:
            if self._callers.total() >= self._places or self._callers[caller] >= self._share:
                raise Unavailable(
                    "Too many requests wait for jobs already. Send this one without 'wait', and read the job later, "
                    "or retry in a moment.",
                    code="too_many_waiting",
                    retry_after=_RETRY_SECONDS,
                )
            self._callers[caller] += 1
        try:
            yield
        finally:
            with self._lock:
                self._callers[caller] -= 1
                if not self._callers[caller]:
                    del self._callers[caller]


room = Room(MAX_WAITING, share=MAX_WAITING // 2)
"""The places of this process."""
