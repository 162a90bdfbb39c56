"""Steps of the tests of webhooks: create one, publish an event, deliver it, verify the received request."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from django.utils import timezone

from models_app.domain.events import EventName
from models_app.models import Event, Webhook, WebhookDelivery
from models_app.services.events import deliveries, events, webhooks
from tests.fakes.receiver import Received

SECRET = "a secret of the receiver's own"


def hook(url: str, *names: str, **fields: Any) -> Webhook:
    defaults: dict[str, Any] = {"allow_private_addresses": True, "secret": SECRET}
    return webhooks.create(url=url, events=names, actor="test", **defaults | fields)[0]


def happen(name: EventName = EventName.MODEL_LOADED, subject: str = "llama.cpp:a") -> Event:
    return events.publish(name=name, subject=subject, message="It happened.", actor="test")


def send_all() -> None:
    for webhook_id in deliveries.due_webhooks():
        deliveries.send_due(webhook_id=webhook_id)


def let_time_pass() -> None:
    """Make pending deliveries due now."""
    WebhookDelivery.objects.filter(state="pending").update(next_attempt_at=timezone.now())


def verified(got: Received, secret: str = SECRET) -> bool:
    """Whether the deprecated headers verify."""
    signed = got.headers["X-NOA-Timestamp"].encode() + b"." + got.body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return got.headers["X-NOA-Signature"] == f"sha256={digest}"


def attempt(webhook: Webhook) -> WebhookDelivery:
    happen()
    deliveries.send_due(webhook_id=webhook.pk)
    return WebhookDelivery.objects.get(webhook=webhook)
