"""Brings up the models that requests of this process wait for. Knows the database, on a thread of its own."""

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
from models_app.domain.residency.demand import Outlook, Want
from models_app.domain.residency.suspects import Death
from models_app.gateway.routing.pending import Tell
from models_app.models import Job
from models_app.services.lifecycle import demand, on_demand
from models_app.services.routes import suspects
from models_app.tasks import queueing

logger = logging.getLogger(__name__)

# While anybody waits: other processes bring models up, and let loads fail, without a word to this one.
LOOK_SECONDS = 0.1
# How often what this process waits for is said again.
_PUBLISH_SECONDS = 1.0
# However many requests come and go, the database is asked so seldom.
_PAUSE_SECONDS = 0.02


class LiveLoads:
    """The gateway's `Loads`. Whoever calls `want` or `died` never waits for the database."""

    def __init__(self, look_at_snapshot: Callable[[], None]) -> None:
        """`look_at_snapshot` reads the routing snapshot anew if it has moved."""
        self._look_at_snapshot = look_at_snapshot
        self._woken: Callable[[], None] = _nobody
        self._process = f"{settings.NOA_NODE}.{os.getpid()}.{secrets.token_hex(4)}"
        self._tell: Tell = _no_listener
        # Replaced key by key, which is atomic; the thread works on a copy.
        self._wants: dict[str, Want] = {}
        self._due: dict[str, float] = {}
        # What became of runners and of the requests that were in them, in the order in which it happened.
        self._news: deque[Callable[[], None]] = deque()
        # Whether a request may be asked once more that was in a runner when that died.
        self._trials: dict[Death, bool] = {}
        self._jobs: dict[str, uuid.UUID] = {}
        self._published: dict[str, int] = {}
        self._publish_at = 0.0
        self._stirred = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="on-demand-loads", daemon=True)

    def start(self, *, tell: Tell, woken: Callable[[], None]) -> None:
        """`tell` ends the wait for a model, `woken` makes those who wait look again; both from another thread."""
        self._tell, self._woken = tell, woken
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._stirred.set()
        self._thread.join()

    # What the gateway calls

    def want(self, want: Want) -> None:
        known = self._wants.get(want.key)
        if not want.waiting:
            self._wants.pop(want.key, None)
        else:
            self._wants[want.key] = want
        # That more of them wait for the same is told with the next look.
        if known is None or not want.waiting or known.permission != want.permission:
            self._stirred.set()

    def died(self, death: Death) -> None:
        self._trials[death] = False
        self._news.append(partial(on_demand.died, death=death))
        self._stirred.set()

    def join(self, death: Death) -> None:
        self._trials[death] = False
        self._stirred.set()

    def may_ask(self, death: Death) -> bool:
        return self._trials.get(death, True)

    def tried(self, death: Death, *, survived: bool) -> None:
        self._trials.pop(death, None)
        self._news.append(partial(suspects.close, death=death, survived=survived))
        self._stirred.set()

    def retry_after(self, key: str) -> int:
        return rules.retry_after(self._due.get(key), monotonic())

    # The thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                busy = self._wants or self._published or self._news
                self._stirred.wait(LOOK_SECONDS if busy else None)
                self._stirred.clear()
                try:
                    self._look()
                except DatabaseError:
                    logger.warning("cannot see to the models that are waited for", exc_info=True)
                    connection.close()
                if not (self._wants or self._published):
                    connection.close()
                self._stopping.wait(_PAUSE_SECONDS)
        finally:
            connection.close()

    def _look(self) -> None:
        while self._news:
            self._news[0]()
            self._news.popleft()
        wants = dict(self._wants)
        left = [key for key in self._published if key not in wants]
        self._publish(wants)
        for key in left:
            self._jobs.pop(key, None)
            self._due.pop(key, None)
            on_demand.leave(key=key)
        for want in wants.values():
            self._attend(want)
        if wants:
            self._look_at_snapshot()
        self._hold_trials()

    def _hold_trials(self) -> None:
        waiting = [death for death, is_its_turn in list(self._trials.items()) if not is_its_turn]
        granted = [death for death in waiting if suspects.may_be_asked(death=death)]
        for death in granted:
            # Unless it has left meanwhile.
            if death in self._trials:
                self._trials[death] = True
        if granted:
            self._woken()

    def _publish(self, wants: dict[str, Want]) -> None:
        """What is waited for, in the database: at once when it is another model, else now and then."""
        counts = {key: want.waiting for key, want in wants.items()}
        if counts.keys() != self._published.keys() or (counts and monotonic() >= self._publish_at):
            demand.publish(process=self._process, wants=wants.values())
            self._published = counts
            self._publish_at = monotonic() + _PUBLISH_SECONDS

    def _attend(self, want: Want) -> None:
        found = on_demand.attend(want=want, job_id=self._jobs.get(want.key))
        if found.created and found.job is not None:
            queueing.enqueue(found.job)
        self._follow(want.key, found.job, found.outlook)

    def _follow(self, key: str, job: Job | None, outlook: Outlook) -> None:
        if job is None:
            self._jobs.pop(key, None)
        else:
            self._jobs[key] = job.pk
        if outlook.failure is not None:
            self._tell(key, outlook.failure)
        elif outlook.seconds is not None:
            self._due[key] = monotonic() + outlook.seconds


def _nobody() -> None:
    """Before anybody listens."""


def _no_listener(key: str, error: Exception) -> None:
    """Before anybody listens."""
