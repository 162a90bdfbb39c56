"""Sends due webhook deliveries, on threads of the worker.

Not as Celery tasks: a receiver that hangs would block the slot of a load, and the deliveries are in the database, not
in messages. Every worker sends; each delivery is claimed by one of them.
"""

from __future__ import annotations

import logging
import threading
import uuid
from time import monotonic
from typing import Any

from django.db import DatabaseError, connection

from models_app.services.coordination import signals
from models_app.services.events import deliveries
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

# The fallback for events of other processes, and for retries, whose shortest wait is 8 seconds.
INTERVAL_SECONDS = 1.0
# Webhooks that receive deliveries concurrently; one that hangs occupies a slot for 10 seconds at a time.
_CONCURRENCY = 8
# The time that a stop waits for attempts in progress. The next worker repeats interrupted ones.
_STOP_SECONDS = 2.0


class Sender:
    """Sends deliveries from `start` to `stop`; it can be started again."""

    def __init__(self) -> None:
        self._thread = RepeatingThread("webhook-sender", self._start_due, lambda: INTERVAL_SECONDS)
        # One thread per webhook: its events arrive in order, and a slow receiver delays no other.
        self._sending: dict[uuid.UUID, threading.Thread] = {}

    def start(self) -> None:
        signals.event_published.connect(self._wake)
        signals.database_changed.connect(self._wake)
        self._thread.start()

    def stop(self) -> None:
        signals.event_published.disconnect(self._wake)
        signals.database_changed.disconnect(self._wake)
        self._thread.stop()
        deadline = monotonic() + _STOP_SECONDS
        for thread in self._sending.values():
            thread.join(max(0.0, deadline - monotonic()))
        self._sending.clear()

    def _wake(self, **_: Any) -> None:
        self._thread.wake()

    def _start_due(self) -> None:
        self._sending = {pk: thread for pk, thread in self._sending.items() if thread.is_alive()}
        try:
            due = deliveries.due_webhooks()
        except DatabaseError:
            logger.warning("webhook deliveries could not be read; retrying", exc_info=True)
            return
        finally:
            connection.close()
        for webhook_id in due:
            if webhook_id not in self._sending and len(self._sending) < _CONCURRENCY:
                thread = threading.Thread(target=self._send, args=(webhook_id,), name="webhook-delivery", daemon=True)
                self._sending[webhook_id] = thread
                thread.start()

    def _send(self, webhook_id: uuid.UUID) -> None:
        try:
            deliveries.send_due(webhook_id=webhook_id, stop=lambda: self._thread.is_stopping)
        except DatabaseError:
            logger.warning("a webhook delivery could not be recorded; it will be sent again", exc_info=True)
        finally:
            connection.close()
            self._thread.wake()


sender = Sender()
"""The instance of this process."""
