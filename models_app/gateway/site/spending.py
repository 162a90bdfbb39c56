"""Passes the sums of this month from the roll-ups to the limiter. Uses the database, on separate threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from django.db import DatabaseError, connection
from django.utils import timezone

from models_app.domain.traffic.routing import Snapshot
from models_app.gateway.calls.limiting import Limiter
from models_app.services.api_keys import budgets
from models_app.threads import QueueThread, RepeatingThread

logger = logging.getLogger(__name__)

# The limiter counts by itself; this restores the counts that a restart or a loss of Redis erased.
INTERVAL_SECONDS = 10.0

# A loop that is busy for longer has another problem; the next run hands the sums over again.
_HAND_OVER_SECONDS = 5.0


class Spending:
    """`report` is the limiter's, and returns at once; `start` returns when the limiter has the first sums."""

    def __init__(self, snapshot: Callable[[], Snapshot], limiter: Callable[[], Limiter]) -> None:
        self._snapshot, self._limiter = snapshot, limiter
        self._loop: asyncio.AbstractEventLoop
        self._reports: QueueThread[tuple[bool, str]] = QueueThread("limits-reports", self._store)
        # `start` hands over the first sums itself.
        self._sums = RepeatingThread(
            "spending", lambda: self._attempt(self.hand_over), lambda: INTERVAL_SECONDS, at_once=False
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call it from a thread, not from the loop, whose work it waits for."""
        self._loop = loop
        self._in_loop(self._limiter().connect())
        self.hand_over()
        self._sums.start()

    def stop(self) -> None:
        self._sums.stop()
        self._reports.close(_HAND_OVER_SECONDS)

    def report(self, answers: bool, why: str) -> None:
        self._reports.put((answers, why))

    def hand_over(self) -> None:
        """Passes the sums of this month to the limiter."""
        entries = self._snapshot().keys.values()
        counted = {key.key_id for key in entries if key.limits and key.limits.counts_months}
        spent = budgets.spent(key_ids=counted, now=timezone.now())
        if spent:
            self._in_loop(self._limiter().raise_to(spent))

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_HAND_OVER_SECONDS)

    def _store(self, report: tuple[bool, str]) -> None:
        answers, why = report
        self._attempt(partial(budgets.report_store, answers=answers, why=why))

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (DatabaseError, TimeoutError):
            logger.warning("limits and budgets: the database does not answer; retrying later", exc_info=True)
        finally:
            connection.close()
