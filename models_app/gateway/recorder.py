"""Takes access records in microseconds and hands them on in batches, from a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from models_app.domain.access import AccessRecord

logger = logging.getLogger(__name__)

Sink = Callable[[list[AccessRecord]], None]

# About 60 MB of records: ten minutes of a database that is away at 150 requests a second.
MAX_PENDING = 100_000
# Large enough to make a transaction worth it, small enough that a batch never blocks the writer for long.
BATCH_SIZE = 500
BATCH_SECONDS = 0.25
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0


class Recorder:
    """`record()` may be called from any thread and never blocks; `sink` is called from one thread only.

    A batch whose sink raises is kept and tried again, with back-off, until it is taken or `close()` gives up.
    Records that come while `MAX_PENDING` wait are counted in `dropped`.
    """

    def __init__(self, sink: Sink, *, max_pending: int = MAX_PENDING) -> None:
        self.dropped = 0
        self._sink = sink
        self._max_pending = max_pending
        self._pending: deque[AccessRecord] = deque()
        self._batch: list[AccessRecord] = []
        self._changed = threading.Condition()
        self._hurry = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def record(self, record: AccessRecord) -> None:
        """Takes one record. Appending to a deque is atomic, so the usual case needs no lock."""
        if len(self._pending) >= self._max_pending or self._closing:
            self.dropped += 1
            return
        self._pending.append(record)
        if self._thread is None:
            self._start()
        elif len(self._pending) == BATCH_SIZE:
            with self._changed:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until the sink has taken everything; False when `timeout` seconds were not enough."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(self._is_empty, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Flushes, ends the thread, and counts as dropped what the sink would not take in time."""
        self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        left = len(self._pending) + len(self._batch)
        if left:
            self.dropped += left
            logger.error("%d access records could not be stored before the end and are lost.", left)

    def _start(self) -> None:
        # Started by the first record, not by the constructor: a server may fork in between.
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="access-recorder", daemon=True
                )
                self._thread.start()

    def _is_empty(self) -> bool:
        return not self._pending and not self._batch

    def _has_work(self) -> bool:
        return self._hurry or self._closing or len(self._pending) >= BATCH_SIZE

    def _run(self) -> None:
        while not (self._closing and self._is_empty()):
            with self._changed:
                self._changed.wait_for(self._has_work, BATCH_SECONDS)
            while self._pending:
                self._take()
                if not self._deliver():
                    return
            self._rest()

    def _take(self) -> None:
        self._batch = [self._pending.popleft() for _ in range(min(BATCH_SIZE, len(self._pending)))]

    def _rest(self) -> None:
        with self._changed:
            if self._is_empty():
                self._hurry = False
                self._changed.notify_all()

    def _deliver(self) -> bool:
        """Hands the batch over, however often it takes; False when closing came first."""
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                self._sink(self._batch)
            except Exception:
                logger.exception(
                    "Storing %d access records failed; trying again.", len(self._batch)
                )
            else:
                self._batch = []
                return True
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, pause):
                    return False
            pause = min(2 * pause, _LAST_RETRY_SECONDS)
