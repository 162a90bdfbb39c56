"""Tells what the circuits of providers did, from a thread of its own: the event loop never waits for a database."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from models_app.domain.residency.breaker import BreakerState

logger = logging.getLogger(__name__)

Sink = Callable[[str, BreakerState, str], None]


class Reports:
    """`report()` may be called from any thread and never blocks; `sink` is called from one thread only, in order.

    A report whose sink raises is logged and dropped: what it said is in the log, and the next change is told again.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: queue.SimpleQueue[tuple[str, BreakerState, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def report(self, provider: str, state: BreakerState, reason: str) -> None:
        self._queue.put((provider, state, reason))
        # Started by the first report, not by the constructor: a server may fork in between.
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="circuit-reports", daemon=True)
                self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Waits until everything was told, at most `timeout` seconds."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while (told := self._queue.get()) is not None:
            try:
                self._sink(*told)
            except Exception:
                logger.exception("The circuit of '%s' is %s; storing that failed.", *told[:2])
