"""Threads that run for as long as a process: one that repeats its work, and one that consumes a queue.

Neither depends on Django: work that uses the database closes its connection itself.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class RepeatingThread:
    """Calls `work` at once, unless `at_once` is False, then every `seconds()` and after each `wake`, until `stop`.

    It can be started again after `stop`; a second `start` or `stop` in a row does nothing. `work` handles its expected
    errors; any other is logged, and the work is repeated. Calls never overlap.
    """

    def __init__(
        self, name: str, work: Callable[[], None], seconds: Callable[[], float], *, at_once: bool = True
    ) -> None:
        self.name = name
        self._at_once = at_once
        self._work = work
        self._seconds = seconds
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def is_started(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._thread is not None:
            return
        self._stopping.clear()
        self._woken.clear()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Repeat the work now, from any thread; calls during one repetition are coalesced into one more."""
        self._woken.set()

    def request_stop(self) -> None:
        """Start no more repetitions. Returns at once; several threads then end in parallel."""
        if self._thread is not None:
            self._stopping.set()
            self._woken.set()

    def stop(self, timeout: float | None = None) -> bool:
        """Wait for the repetition in progress, at most `timeout` seconds; False when it still runs then."""
        self.request_stop()
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        if not self._at_once:
            self._woken.wait(self._seconds())
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self._work()
            except Exception:
                # Otherwise the thread would end, and its work would stop without a log line.
                logger.exception("%s failed; it is repeated", self.name)
            if not self._stopping.is_set():
                self._woken.wait(self._seconds())


class QueueThread(Generic[Item]):
    """Calls `consume` with each item, in order, on a thread that the first item starts.

    Not started by the constructor: a server can fork in between. `consume` handles its expected errors; any other is
    logged without the item, which can hold data that must not reach a log.
    """

    def __init__(self, name: str, consume: Callable[[Item], None], limit: int = 0) -> None:
        """At most `limit` items wait; 0 is no limit."""
        self.name = name
        self._consume = consume
        self._items: queue.Queue[Item | None] = queue.Queue(limit)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, item: Item) -> bool:
        """Queue an item without waiting; False when the queue is full, and the item is dropped."""
        try:
            self._items.put_nowait(item)
        except queue.Full:
            return False
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
        return True

    def close(self, timeout: float) -> bool:
        """Wait until every item is consumed, at most `timeout` seconds; False when some are left."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is None:
            return True
        try:
            self._items.put(None, timeout=timeout)
        except queue.Full:
            return False
        thread.join(timeout)
        return not thread.is_alive()

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                self._consume(item)
            except Exception:
                logger.exception("%s failed on one item; the next one follows", self.name)
