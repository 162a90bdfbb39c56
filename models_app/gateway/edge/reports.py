"""Stores the state changes of providers' circuits on a separate thread: the event loop never waits for a database."""

from __future__ import annotations

import logging
from collections.abc import Callable

from models_app.domain.residency.breaker import BreakerState
from models_app.threads import QueueThread

logger = logging.getLogger(__name__)

Sink = Callable[[str, BreakerState, str], None]
_Report = tuple[str, BreakerState, str]


class Reports:
    """`report()` can be called from any thread and never blocks; `sink` is called from one thread only, in order.

    A report whose sink raises is logged and dropped: the log has its content, and the next change is reported again.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._thread: QueueThread[_Report] = QueueThread("circuit-reports", self._store)

    def report(self, provider: str, state: BreakerState, reason: str) -> None:
        self._thread.put((provider, state, reason))

    def close(self, timeout: float = 5.0) -> None:
        """Waits until every report is stored, at most `timeout` seconds."""
        self._thread.close(timeout)

    def _store(self, report: _Report) -> None:
        try:
            self._sink(*report)
        except Exception:
            logger.exception("The circuit of '%s' is %s; storing that failed.", *report[:2])
