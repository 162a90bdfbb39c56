"""Stores facts and tells them to who listens in this process."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from models_app.domain.events import EventName
from models_app.models import Event
from models_app.services import signals


def publish(
    *,
    name: EventName,
    subject: str = "",
    message: str = "",
    actor: str = "",
    cause: str = "",
    before: Any = None,
    after: Any = None,
    job_id: uuid.UUID | None = None,
    data: dict[str, Any] | None = None,
) -> Event:
    """One row, part of the caller's transaction; listeners hear of it after the commit."""
    event = Event.objects.create(
        name=name,
        subject=subject,
        message=message,
        actor=actor,
        cause=cause,
        before=before,
        after=after,
        job_id=job_id,
        data=data or {},
    )
    transaction.on_commit(lambda: signals.event_published.send(sender=Event, event=event))
    return event
