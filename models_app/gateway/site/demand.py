"""Loads the models that requests of this process wait for. Uses the database, on a separate thread."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from django.conf import settings
from django.db import DatabaseError, connection

from models_app.domain.residency import demand as rules
from models_app.domain.residency.demand import ModelDemand, Outlook
from models_app.domain.residency.suspects import Death
from models_app.gateway.routing.model_loader import EndWait
from models_app.models import Job
from models_app.services.lifecycle import demand, on_demand
from models_app.services.routes import suspects
from models_app.tasks import queueing

logger = logging.getLogger(__name__)

# While requests wait: loads of other processes succeed or fail without a notification to this one.
INTERVAL_SECONDS = 0.1
# How often the number of waiting requests is published, while the models stay the same.
_PUBLISH_SECONDS = 1.0
# Between two runs, however many requests come and go: bounds the queries.
_PAUSE_SECONDS = 0.02


class DatabaseModelLoader:
    """The gateway's `ModelLoader`. Its methods for the gateway never wait for the database."""

    def __init__(self, refresh_snapshot: Callable[[], None]) -> None:
        """`refresh_snapshot` reads the routing snapshot if its revision has changed."""
        self._refresh_snapshot = refresh_snapshot
        self._wake_requests: Callable[[], None] = _no_requests
        self._process = f"{settings.NOA_NODE}.{os.getpid()}.{secrets.token_hex(4)}"
        self._end_wait: EndWait = _no_wait
        # Replaced key by key, which is atomic; the thread works on a copy.
        self._demands: dict[str, ModelDemand] = {}
        self._due: dict[str, float] = {}
        # Deaths of runners, and the results of repeats, in their order.
        self._to_store: deque[Callable[[], None]] = deque()
        # Whether a request whose runner died may be repeated.
        self._trials: dict[Death, bool] = {}
        self._jobs: dict[str, uuid.UUID] = {}
        self._published: dict[str, int] = {}
        self._publish_at = 0.0
        self._changed = threading.Event()
        self._stopping = threading.Event()
        # Not a RepeatingThread: it keeps its connection while requests wait, and closes it at its end.
        self._thread = threading.Thread(target=self._run, name="on-demand-loads", daemon=True)

    def start(self, *, end_wait: EndWait, wake_requests: Callable[[], None]) -> None:
        """`end_wait` ends the wait for a model, `wake_requests` repeats resolution; both are called by the thread."""
        self._end_wait, self._wake_requests = end_wait, wake_requests
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._changed.set()
        self._thread.join()

    # Called by the gateway

    def demand(self, demand: ModelDemand) -> None:
        known = self._demands.get(demand.key)
        if not demand.waiting:
            self._demands.pop(demand.key, None)
        else:
            self._demands[demand.key] = demand
        # A larger number of requests for the same model is published with the next run.
        if known is None or not demand.waiting or known.permission != demand.permission:
            self._changed.set()

    def died(self, death: Death) -> None:
        self._trials[death] = False
        self._to_store.append(partial(on_demand.died, death=death))
        self._changed.set()

    def join(self, death: Death) -> None:
        self._trials[death] = False
        self._changed.set()

    def may_retry(self, death: Death) -> bool:
        return self._trials.get(death, True)

    def retried(self, death: Death, *, survived: bool) -> None:
        self._trials.pop(death, None)
        self._to_store.append(partial(on_demand.retried, death=death, survived=survived))
        self._changed.set()

    def retry_after(self, key: str) -> int:
        return rules.retry_after(self._due.get(key), monotonic())

    # The thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                busy = self._demands or self._published or self._to_store
                self._changed.wait(INTERVAL_SECONDS if busy else None)
                self._changed.clear()
                try:
                    self._run_once()
                except DatabaseError:
                    logger.warning("on-demand loads: the database failed; retrying", exc_info=True)
                    connection.close()
                if not (self._demands or self._published):
                    connection.close()
                self._stopping.wait(_PAUSE_SECONDS)
        finally:
            connection.close()

    def _run_once(self) -> None:
        while self._to_store:
            self._to_store[0]()
            self._to_store.popleft()
        demands = dict(self._demands)
        left = [key for key in self._published if key not in demands]
        self._publish(demands)
        for key in left:
            self._jobs.pop(key, None)
            self._due.pop(key, None)
            on_demand.leave(key=key)
        for found in demands.values():
            self._load(found)
        if demands:
            self._refresh_snapshot()
        self._grant_trials()

    def _grant_trials(self) -> None:
        waiting = [death for death, granted in list(self._trials.items()) if not granted]
        granted = [death for death in waiting if suspects.may_retry(death=death)]
        for death in granted:
            # Its request can have ended since.
            if death in self._trials:
                self._trials[death] = True
        if granted:
            self._wake_requests()

    def _publish(self, demands: dict[str, ModelDemand]) -> None:
        """Writes the demand to the database: at once when the models change, else every `_PUBLISH_SECONDS`."""
        counts = {key: found.waiting for key, found in demands.items()}
        if counts.keys() != self._published.keys() or (counts and monotonic() >= self._publish_at):
            demand.publish(process=self._process, demands=demands.values())
            self._published = counts
            self._publish_at = monotonic() + _PUBLISH_SECONDS

    def _load(self, found: ModelDemand) -> None:
        attended = on_demand.attend(model_demand=found, job_id=self._jobs.get(found.key))
        if attended.created and attended.job is not None:
            queueing.enqueue(attended.job)
        self._follow(found.key, attended.job, attended.outlook)

    def _follow(self, key: str, job: Job | None, outlook: Outlook) -> None:
        if job is None:
            self._jobs.pop(key, None)
        else:
            self._jobs[key] = job.pk
        if outlook.failure is not None:
            self._end_wait(key, outlook.failure)
        elif outlook.seconds is not None:
            self._due[key] = monotonic() + outlook.seconds


def _no_requests() -> None:
    """Before `start`."""


def _no_wait(key: str, error: Exception) -> None:
    """Before `start`."""
