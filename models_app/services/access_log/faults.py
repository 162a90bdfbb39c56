"""Reports faults of the access log to operators: an event for each kind of fault, at most once a minute."""

from __future__ import annotations

import logging
from time import monotonic

from django.db import DatabaseError

from models_app.domain.events import EventName
from models_app.services.events import events

logger = logging.getLogger(__name__)

# A lasting fault is one event; its count is in the reconcile report.
_SECONDS = 60.0
_reported_at: dict[str, float] = {}


def report(fault: str, message: str, *, count: int) -> None:
    """Publish the event. `fault` is its kind, `count` the number of affected records so far."""
    now = monotonic()
    if now - _reported_at.get(fault, -_SECONDS) < _SECONDS:
        return
    _reported_at[fault] = now
    try:
        events.publish(
            name=EventName.ACCESS_LOG_FAULT,
            subject=fault,
            message=message,
            actor="gateway",
            cause="policy",
            data={"fault": fault, "count": count},
        )
    except DatabaseError:
        logger.warning("An event about the access log could not be stored.", exc_info=True)
        _reported_at.pop(fault, None)
