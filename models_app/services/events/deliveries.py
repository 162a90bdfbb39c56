"""Delivers events to webhooks: each until it arrives or its attempts are used up, with one attempt at a time."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, time

import aiohttp
import orjson
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from models_app.domain import addresses
from models_app.domain.errors import NoaError
from models_app.domain.events import EventName
from models_app.domain.traffic import webhooks
from models_app.models import Webhook, WebhookDelivery
from models_app.providers.wire import http
from models_app.services.coordination import connections, secrets
from models_app.services.events import events

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"

# A receiver should store the event and answer at once; work that takes longer belongs into a queue of the receiver.
_CONNECT_SECONDS = 5.0
_TOTAL_SECONDS = 10.0
# By which the clocks of machines differ: a delivery that another one has just scheduled is not from before a step.
_TOLERANCE_SECONDS = 5.0
_MAX_ERROR = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended: delivered when the receiver answered with a 2xx."""

    delivered: bool
    status: int | None
    error: str
    seconds: float


def due_webhooks() -> list[uuid.UUID]:
    """Webhooks with a delivery that is due."""
    due = WebhookDelivery.objects.filter(_due(timezone.now()), state=PENDING, webhook__enabled=True)
    return list(due.order_by().values_list("webhook", flat=True).distinct())


def send_due(*, webhook_id: uuid.UUID, stop: Callable[[], bool] = lambda: False) -> int:
    """Send the due deliveries of one webhook, in the order of the events; returns the number of attempts."""
    tried = 0
    due = WebhookDelivery.objects.filter(_due(timezone.now()), webhook=webhook_id, state=PENDING)
    for delivery_id in list(due.order_by("pk").values_list("pk", flat=True)):
        if stop():
            break
        tried += deliver(delivery_id=delivery_id) is not None
    return tried


def _due(now: datetime) -> Q:
    """The time of the next attempt has come, or is further away than any wait after these attempts."""
    due = Q(next_attempt_at__lte=now)
    for attempts in range(webhooks.MAX_ATTEMPTS + 1):
        due |= Q(attempts=attempts, next_attempt_at__gt=now + _longest_wait(attempts))
    return due


def _longest_wait(attempts: int) -> timedelta:
    return timedelta(seconds=webhooks.longest_wait(attempts) + _TOLERANCE_SECONDS)


def deliver(*, delivery_id: int) -> Outcome | None:
    """One attempt; None when the delivery is not due, or another worker has claimed it."""
    delivery = WebhookDelivery.objects.select_related("webhook", "event").filter(pk=delivery_id).first()
    if delivery is None or not delivery.webhook.enabled or not _claim(delivery):
        return None
    outcome = send(
        webhook=delivery.webhook,
        name=delivery.event.name,
        identifier=_message_id(delivery.webhook, str(delivery.event_id)),
        delivery=str(delivery.pk),
        body=events.to_json(delivery.event),
    )
    _record(delivery, outcome)
    return outcome


def _message_id(webhook: Webhook, event: str) -> str:
    """The same for every attempt, and unique across servers, which all count their events from 1."""
    return f"{webhook.pk}-{event}"


def _claim(delivery: WebhookDelivery) -> bool:
    """Compare-and-set on the time of the next attempt: of the workers that read the same value, one succeeds."""
    now = timezone.now()
    seen = delivery.next_attempt_at
    if seen is None or now < seen <= now + _longest_wait(delivery.attempts):
        return False
    claimed = WebhookDelivery.objects.filter(pk=delivery.pk, state=PENDING, next_attempt_at=seen).update(
        next_attempt_at=now + timedelta(seconds=webhooks.LEASE_SECONDS), attempts=delivery.attempts + 1
    )
    delivery.attempts += 1
    return claimed == 1


def _record(delivery: WebhookDelivery, outcome: Outcome) -> None:
    row = WebhookDelivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts)
    result = {"status": outcome.status, "error": outcome.error[:_MAX_ERROR]}
    wait = webhooks.wait_seconds(attempts=delivery.attempts, chance=random.random())
    with transaction.atomic():
        if outcome.delivered:
            now = timezone.now()
            row.update(state=DELIVERED, delivered_at=now, next_attempt_at=None, **result)
            Webhook.objects.filter(pk=delivery.webhook_id).exclude(failing_since=None).update(failing_since=None)
        elif wait is not None:
            row.update(next_attempt_at=timezone.now() + timedelta(seconds=wait), **result)
        else:
            row.update(state=FAILED, next_attempt_at=None, **result)
            _publish_failing(delivery, outcome)


def _publish_failing(delivery: WebhookDelivery, outcome: Outcome) -> None:
    """Publish once, until a delivery succeeds again."""
    webhook = Webhook.objects.filter(pk=delivery.webhook_id, failing_since=None)
    if not webhook.update(failing_since=timezone.now()):
        return
    events.publish(
        name=EventName.WEBHOOK_FAILING,
        subject=str(delivery.webhook_id),
        message=f"The webhook to {delivery.webhook.url} did not accept event {delivery.event_id}"
        f" in {delivery.attempts} attempts.",
        actor="webhooks",
        cause=outcome.error[:255],
        data={"url": delivery.webhook.url, "event": delivery.event_id, "status": outcome.status},
    )


def send_test(*, webhook: Webhook) -> Outcome:
    """Send a made-up event now, without storing it."""
    body = orjson.dumps(
        {
            "id": 0,
            "name": "test",
            "subject": str(webhook.pk),
            "message": "This is a test of the webhook; nothing has happened.",
            "actor": "webhooks",
            "cause": "requested",
            "before": None,
            "after": None,
            "job_id": None,
            "data": {},
            "created_at": timezone.now(),
        },
        option=orjson.OPT_UTC_Z,
    )
    delivery = f"test-{uuid.uuid4()}"
    return send(webhook=webhook, name="test", identifier=_message_id(webhook, delivery), delivery=delivery, body=body)


def send(*, webhook: Webhook, name: str, identifier: str, delivery: str, body: bytes) -> Outcome:
    """One signed POST. A failure is returned as an outcome, not raised."""
    started = monotonic()
    status, error = None, ""
    try:
        addresses.checked_url(webhook.url, param="url", allow_private=webhook.allow_private_addresses)
        headers = _headers(webhook, name=name, identifier=identifier, delivery=delivery, body=body)
        connections.release()
        status = asyncio.run(_post(webhook.url, headers, body, allow_private=webhook.allow_private_addresses))
        error = _error_of(status)
    except NoaError as refused:
        error = refused.message
    except TimeoutError:
        error = f"The receiver did not answer within {_TOTAL_SECONDS:g} seconds."
    except (aiohttp.ClientError, OSError) as failed:
        error = _reason(failed)
    return Outcome(not error, status, error, round(monotonic() - started, 3))


def _headers(webhook: Webhook, *, name: str, identifier: str, delivery: str, body: bytes) -> dict[str, str]:
    secret, timestamp = secrets.unseal(webhook.secret), int(time())
    signed = webhooks.headers(secret=secret, identifier=identifier, timestamp=timestamp, body=body)
    return signed | {
        "Content-Type": "application/json",
        "User-Agent": "NOA",
        "X-NOA-Event": name,
        "X-NOA-Delivery": delivery,
        # Deprecated, like the signature below.
        "X-NOA-Timestamp": str(timestamp),
        "X-NOA-Signature": webhooks.legacy_signature(secret=secret, timestamp=timestamp, body=body),
    }


async def _post(url: str, headers: dict[str, str], body: bytes, *, allow_private: bool) -> int:
    """The status of the answer. Its body is not read: it is not used, and can be endless."""
    timeout = aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS)
    async with (
        http.session(allow_private=allow_private, timeout=timeout) as session,
        session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status


def _error_of(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"The receiver answered with a redirect ({status}), which is not followed."
    return f"The receiver answered with {status}."


def _reason(error: Exception) -> str:
    """The reason of a failed request: a refused address is the cause of aiohttp's own error."""
    refused = error.__cause__ if isinstance(error.__cause__, http.AddressNotAllowed) else error
    return f"The receiver could not be reached: {refused}"
