"""Stores facts, in an order that readers can rely on, and tells them to who listens."""

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

# Of one statement; ten columns each stay far below what any database takes.
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
    """One row, part of the caller's transaction; listeners hear of it after the commit.

    Rows become visible in the order of their ids: who has read up to an id never finds a smaller one later.
    """
    with transaction.atomic():
        take_turn()
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
        # Robust: what a listener does wrong must not break the work that the event tells of.
        transaction.on_commit(lambda: signals.event_published.send_robust(sender=Event, event=event))
    return event


def publish_many(facts: Sequence[Event]) -> None:
    """As `publish`, for many unsaved events at once: some statements in place of some for each."""
    with transaction.atomic():
        take_turn()
        stored = Event.objects.bulk_create(facts, batch_size=_ROWS)
        _put_in_outbox(stored)
        transaction.on_commit(lambda: _send(stored))


def _send(facts: Sequence[Event]) -> None:
    for event in facts:
        signals.event_published.send_robust(sender=Event, event=event)


def take_turn() -> None:
    """Wait until no other transaction writes facts, and hold the turn until this one ends.

    PostgreSQL gives an id when a row is written, not when it is committed: without turns, the event of a transaction
    that took longer would appear behind the back of a reader that asks for "id > last". SQLite has one writer anyway.
    Whatever is written by every transaction that also publishes must take its turn first, or two of them could wait
    for each other; `routing.bump` does. Other processes hear of the commit.
    """
    locks.take_and_announce(locks.FACTS)


def _put_in_outbox(facts: Sequence[Event]) -> None:
    """A delivery for each webhook that wants an event, in the same transaction: none is lost and none is invented."""
    now = timezone.now()
    webhooks = list(Webhook.objects.filter(enabled=True))
    deliveries = [
        WebhookDelivery(webhook=webhook, event=event, next_attempt_at=now)
        for event in facts
        for webhook in webhooks
        if _wants(webhook, event)
    ]
    WebhookDelivery.objects.bulk_create(deliveries, batch_size=_ROWS)


def _wants(webhook: Webhook, event: Event) -> bool:
    # To tell a webhook that it fails would make it fail again, for ever.
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
    """Which events somebody wants. What is empty or None does not choose."""

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

    def wants(self, event: Event) -> bool:
        """The same choice for an event that has been read already."""
        return (
            (not self.names or event.name in self.names)
            and self.subject in (None, event.subject)
            and self.actor in (None, event.actor)
            and self.job_id in (None, event.job_id)
        )
