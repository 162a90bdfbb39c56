"""Stores what requests meet at providers on a separate thread: the event loop never waits for a database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from models_app.domain.residency.breaker import BreakerState
from models_app.domain.residency.contact import Contact
from models_app.threads import QueueThread

logger = logging.getLogger(__name__)

Sink = Callable[[str, BreakerState, str], None]
ContactSink = Callable[[str, Contact, str, float], None]


def _dropped(provider: str, contact: Contact, reason: str, wait: float) -> None:
    """For reports of circuits alone."""


class Reports:
    """`report()` and `contact()` can be called from any thread and never block; the sinks are called from one thread
    only, in order.

    A report whose sink raises is logged and dropped: the log has its content, and the next change is reported again.
    """

    def __init__(self, sink: Sink, contact_sink: ContactSink = _dropped) -> None:
        self._sink, self._contact_sink = sink, contact_sink
        self._thread: QueueThread[partial[None]] = QueueThread("circuit-reports", self._store)

    def report(self, provider: str, state: BreakerState, reason: str) -> None:
        self._thread.put(partial(self._sink, provider, state, reason))

    def contact(self, provider: str, contact: Contact, reason: str, wait: float) -> None:
        self._thread.put(partial(self._contact_sink, provider, contact, reason, wait))

    def close(self, timeout: float = 5.0) -> None:
        """Waits until every report is stored, at most `timeout` seconds."""
        self._thread.close(timeout)

    def _store(self, report: partial[None]) -> None:
        try:
            report()
        except Exception:
            logger.exception("The provider '%s' is %s; storing that failed.", *report.args[:2])
