"""Bodies of webhooks and their deliveries."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.addresses import MAX_URL_LENGTH, URL_PATTERN
from models_app.domain.events import EventName
from models_app.models import Webhook, WebhookDelivery
from models_app.services.events.deliveries import DELIVERED, FAILED, PENDING, Outcome
from models_app.services.events.webhooks import SECRET_LENGTHS

EVENT_NAMES = [name.value for name in EventName]
SHORTEST, LONGEST = SECRET_LENGTHS


@extend_schema_field(
    {
        "type": "string",
        "maxLength": MAX_URL_LENGTH,
        "pattern": f"^{URL_PATTERN}$",
        "description": "The address to which each event is sent with POST.",
    }
)
class UrlField(serializers.CharField):
    """`models_app.domain.addresses.checked_url` checks it."""


class WebhookInput(StrictInput):
    """A new webhook. In a change every field can be omitted."""

    url = UrlField(max_length=MAX_URL_LENGTH)
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=EVENT_NAMES),
        max_length=len(EVENT_NAMES),
        required=False,
        help_text="Names of events; empty is all.",
    )
    secret = serializers.CharField(
        min_length=SHORTEST,
        max_length=LONGEST,
        trim_whitespace=False,
        required=False,
        write_only=True,
        help_text="Signs each delivery. If omitted, one is generated and shown once.",
    )
    enabled = serializers.BooleanField(required=False)
    description = serializers.CharField(required=False, allow_blank=True, max_length=255)
    allow_private_addresses = serializers.BooleanField(
        required=False, help_text="Whether the address can be in a private network."
    )


class WebhookOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(choices=EVENT_NAMES))
    enabled = serializers.BooleanField()
    description = serializers.CharField(allow_blank=True)
    allow_private_addresses = serializers.BooleanField()
    failing_since = serializers.DateTimeField(
        allow_null=True, help_text="When a delivery was given up; null after the next success."
    )
    created_by = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class CreatedWebhookOutput(WebhookOutput):
    secret = serializers.CharField(
        allow_null=True, help_text="The generated secret, shown once; null if the request had one."
    )


class WebhookListOutput(serializers.Serializer[Any]):
    webhooks = WebhookOutput(many=True)


class OutcomeOutput(serializers.Serializer[Any]):
    delivered = serializers.BooleanField()
    status = serializers.IntegerField(allow_null=True, help_text="The receiver's status.")
    error = serializers.CharField(allow_null=True)
    seconds = serializers.FloatField()


class DeliveryOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    event_id = serializers.IntegerField()
    event = serializers.ChoiceField(choices=EVENT_NAMES)
    state = serializers.ChoiceField(choices=[PENDING, DELIVERED, FAILED])
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    status = serializers.IntegerField(allow_null=True, help_text="The last status of the receiver.")
    error = serializers.CharField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class DeliveryListOutput(serializers.Serializer[Any]):
    deliveries = DeliveryOutput(many=True)
    next = serializers.URLField(allow_null=True)


def represent_webhook(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.pk,
        "url": webhook.url,
        "events": webhook.events,
        "enabled": webhook.enabled,
        "description": webhook.description,
        "allow_private_addresses": webhook.allow_private_addresses,
        "failing_since": webhook.failing_since,
        "created_by": webhook.created_by,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }


def represent_delivery(delivery: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": delivery.pk,
        "event_id": delivery.event_id,
        "event": delivery.event.name,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_attempt_at": delivery.next_attempt_at,
        "status": delivery.status,
        "error": delivery.error or None,
        "delivered_at": delivery.delivered_at,
        "created_at": delivery.created_at,
    }


def represent_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "delivered": outcome.delivered,
        "status": outcome.status,
        "error": outcome.error or None,
        "seconds": outcome.seconds,
    }
