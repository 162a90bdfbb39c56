"""Stores events in an order that readers can rely on, and publishes them to subscribers."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from models_app.domain.errors import NotFound
from models_app.domain.events import EventName
from models_app.models import Event, Webhook, WebhookDelivery
from models_app.services.coordination import locks, signals

# Per statement; with ten columns each this stays far below the limit of any database.
_ROWS = 500


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
    """Write one row in the caller's transaction; subscribers in this process receive it after the commit.

    Rows become visible in the order of their ids: a reader that has read up to an id never finds a smaller one later.
    """
    with transaction.atomic():
        take_lock()
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
        _put_in_outbox([event])
        # Robust: an error in a subscriber must not break the work that the event reports.
        transaction.on_commit(lambda: signals.event_published.send_robust(sender=Event, event=event))
    return event


def publish_many(facts: Sequence[Event]) -> None:
    """As `publish`, for many unsaved events at once with a few statements in all."""
    with transaction.atomic():
        take_lock()
        stored = Event.objects.bulk_create(facts, batch_size=_ROWS)
        _put_in_outbox(stored)
        transaction.on_commit(lambda: _send(stored))


def _send(facts: Sequence[Event]) -> None:
    for event in facts:
        signals.event_published.send_robust(sender=Event, event=event)


def take_lock() -> None:
    """Wait until no other transaction writes events, and hold the lock until this one ends.

    PostgreSQL assigns an id when a row is written, not when it is committed: without the lock, the event of a slow
    transaction would appear below the position of a reader that queries "id > last". SQLite has one writer anyway.
    A transaction that publishes and writes other shared rows must take the lock first, or two of them could deadlock;
    `routing.bump` does. Other processes are notified of the commit.
    """
    locks.take_and_announce(locks.FACTS)


def _put_in_outbox(facts: Sequence[Event]) -> None:
    """A delivery for each subscribed webhook, in the same transaction: none is lost, and none precedes its event."""
    now = timezone.now()
    webhooks = list(Webhook.objects.filter(enabled=True))
    deliveries = [
        WebhookDelivery(webhook=webhook, event=event, next_attempt_at=now)
        for event in facts
        for webhook in webhooks
        if _subscribes(webhook, event)
    ]
    WebhookDelivery.objects.bulk_create(deliveries, batch_size=_ROWS)


def _subscribes(webhook: Webhook, event: Event) -> bool:
    # A webhook that receives the event of its own failure would fail again, endlessly.
    is_about_itself = event.name == EventName.WEBHOOK_FAILING and event.subject == str(webhook.pk)
    return not is_about_itself and (not webhook.events or event.name in webhook.events)


def get(*, event_id: int) -> Event:
    event = Event.objects.filter(pk=event_id).first()
    if event is None:
        raise NotFound(f"There is no event {event_id}.", code="event_not_found", param="event_id")
    return event


def newest_id() -> int:
    """The id of the newest event, 0 when there is none."""
    return Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def represent(event: Event) -> dict[str, Any]:
    """The event as the API, the stream and webhooks show it."""
    return {
        "id": event.pk,
        "name": event.name,
        "subject": event.subject,
        "message": event.message,
        "actor": event.actor,
        "cause": event.cause,
        "before": event.before,
        "after": event.after,
        "job_id": event.job_id,
        "data": event.data,
        "created_at": event.created_at,
    }


def to_json(event: Event) -> bytes:
    return orjson.dumps(represent(event), option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A selection of events. Fields that are empty or None do not restrict it."""

    names: frozenset[str] = frozenset()
    subject: str | None = None
    actor: str | None = None
    job_id: uuid.UUID | None = None

    def rows(self) -> QuerySet[Event]:
        found = Event.objects.all()
        if self.names:
            found = found.filter(name__in=self.names)
        if self.subject is not None:
            found = found.filter(subject=self.subject)
        if self.actor is not None:
            found = found.filter(actor=self.actor)
        if self.job_id is not None:
            found = found.filter(job_id=self.job_id)
        return found

    def matches(self, event: Event) -> bool:
        """Returns True for an event that `rows` would select."""
        return (
            (not self.names or event.name in self.names)
            and self.subject in (None, event.subject)
            and self.actor in (None, event.actor)
            and self.job_id in (None, event.job_id)
        )
