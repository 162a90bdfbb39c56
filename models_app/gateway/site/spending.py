"""Tells the limiter what the roll-ups know of this month. Knows the database, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from django.db import DatabaseError, connection
from django.utils import timezone

from models_app.domain.traffic.routing import Snapshot
from models_app.gateway.calls.limiting import Limiter
from models_app.services.api_keys import budgets

logger = logging.getLogger(__name__)

# What was counted meanwhile is known already; this heals what a restart or a loss of Redis took.
LOOK_SECONDS = 10.0

# A loop that is busy for longer is in other trouble; the next look tells it again.
_TOLD_SECONDS = 5.0


class Spending:
    """`report` is the limiter's, and returns at once; `start` returns when the first sums were told."""

    def __init__(self, snapshot: Callable[[], Snapshot], limiter: Callable[[], Limiter]) -> None:
        self._snapshot, self._limiter = snapshot, limiter
        self._reports: queue.SimpleQueue[tuple[bool, str] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="spending", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call from a thread, not from the loop: it waits for what the loop is given to do."""
        self._loop = loop
        self._tell(self._limiter().connect())
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._reports.put(None)
        self._thread.join()

    def report(self, answers: bool, why: str) -> None:
        self._reports.put((answers, why))

    def look(self) -> None:
        entries = self._snapshot().keys.values()
        wanted = {one.key_id for one in entries if one.limits and one.limits.counts_months}
        found = budgets.spent(key_ids=wanted, now=timezone.now())
        if found:
            self._tell(self._limiter().raise_to(found))

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_TOLD_SECONDS)

    def _run(self) -> None:
        while True:
            try:
                told = self._reports.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._attempt(self.look)
                continue
            if told is None:
                return
            answers, why = told
            self._attempt(partial(budgets.report_store, answers=answers, why=why))

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (DatabaseError, TimeoutError):
            logger.warning("limits and budgets: the database does not answer; later", exc_info=True)
        finally:
            connection.close()
