"""Tells operators when the access log could not do what it promises: an event for each kind of fault, once a minute."""

from __future__ import annotations

import logging
from time import monotonic

from django.db import DatabaseError

from models_app.domain.events import EventName
from models_app.services.events import events

logger = logging.getLogger(__name__)

# A fault that lasts is one fact; its count is in the reconcile report.
_SECONDS = 60.0
_told: dict[str, float] = {}


def tell(fault: str, message: str, *, count: int) -> None:
    """`fault` is the kind of it, `count` how many records it has met so far."""
    now = monotonic()
    if now - _told.get(fault, -_SECONDS) < _SECONDS:
        return
    _told[fault] = now
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
        _told.pop(fault, None)
