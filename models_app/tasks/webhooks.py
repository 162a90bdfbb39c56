"""Sends what is due to webhooks, on threads of a worker's own.

Not as Celery tasks: a receiver that hangs would take the place of a load, and what is to be sent is in the database, not
in a message. Every worker does this; each delivery is claimed by one of them.
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

logger = logging.getLogger(__name__)

# The net for events of other processes and for retries, whose shortest wait is 8 seconds.
LOOK_SECONDS = 1.0
# Webhooks that are sent to at the same time; one that hangs holds one of them for 10 seconds at a time.
_AT_ONCE = 8
# What a stop gives to attempts that are under way. One that is cut is made again by the next worker.
_STOP_SECONDS = 2.0


class Sender:
    """From `start` to `stop`, which may follow each other again."""

    def __init__(self) -> None:
        self._stirred = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        # One thread per webhook, so that its events arrive in their order and it delays nobody else.
        self._sending: dict[uuid.UUID, threading.Thread] = {}

    def start(self) -> None:
        if self._thread is not None:
            return
        self._stopping.clear()
        signals.event_published.connect(self._stir)
        signals.database_changed.connect(self._stir)
        self._thread = threading.Thread(target=self._run, name="webhook-sender", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is None:
            return
        signals.event_published.disconnect(self._stir)
        signals.database_changed.disconnect(self._stir)
        self._stopping.set()
        self._stirred.set()
        self._thread.join()
        self._thread = None
        deadline = monotonic() + _STOP_SECONDS
        for thread in self._sending.values():
            thread.join(max(0.0, deadline - monotonic()))
        self._sending.clear()

    def _stir(self, **_: Any) -> None:
        self._stirred.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
            except DatabaseError:
                logger.warning("webhook deliveries could not be read; later", exc_info=True)
            finally:
                connection.close()
            self._stirred.wait(LOOK_SECONDS)
            self._stirred.clear()

    def _look(self) -> None:
        self._sending = {pk: thread for pk, thread in self._sending.items() if thread.is_alive()}
        for webhook_id in deliveries.due_webhooks():
            if webhook_id not in self._sending and len(self._sending) < _AT_ONCE:
                thread = threading.Thread(target=self._send, args=(webhook_id,), name="webhook-delivery", daemon=True)
                self._sending[webhook_id] = thread
                thread.start()

    def _send(self, webhook_id: uuid.UUID) -> None:
        try:
            deliveries.send_due(webhook_id=webhook_id, stop=self._stopping.is_set)
        except DatabaseError:
            logger.warning("a webhook delivery could not be noted; later", exc_info=True)
        finally:
            connection.close()
            self._stirred.set()


sender = Sender()
"""The one of this process."""
