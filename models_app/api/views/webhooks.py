"""Webhooks: addresses that are told of events."""

from __future__ import annotations

import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.webhooks import (
    CreatedWebhookOutput,
    DeliveryListOutput,
    OutcomeOutput,
    WebhookInput,
    WebhookListOutput,
    WebhookOutput,
    represent_delivery,
    represent_outcome,
    represent_webhook,
)
from models_app.api.views.base import ManagementView
from models_app.domain.scopes import Scope
from models_app.models import Webhook, WebhookDelivery
from models_app.services.events import deliveries, webhooks

# What is sent to a webhook is everything that happens.
_ADMIN = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.ADMIN)


class WebhookList(ManagementView):
    scopes = _ADMIN

    @extend_schema(
        operation_id="list_webhooks",
        tags=["webhooks"],
        responses={200: WebhookListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """All webhooks, the newest first."""
        query.refuse_unknown(request, ())
        return Response({"webhooks": [represent_webhook(one) for one in Webhook.objects.all()]})

    @extend_schema(
        operation_id="create_webhook",
        tags=["webhooks"],
        request=WebhookInput,
        responses={201: CreatedWebhookOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Send events to an address from now on. A secret that is made here is shown in this answer only."""
        webhook, secret = webhooks.create(**_read(request), actor=actor_of(request))
        location = reverse("api:webhook", kwargs={"webhook_id": webhook.pk})
        answer = represent_webhook(webhook) | {"secret": secret}
        return Response(answer, status=201, headers={"Location": location})


class WebhookDetail(ManagementView):
    scopes = _ADMIN

    @extend_schema(operation_id="get_webhook", tags=["webhooks"], responses={200: WebhookOutput} | ERRORS)
    def get(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """One webhook. Its secret cannot be read."""
        query.refuse_unknown(request, ())
        return Response(represent_webhook(webhooks.get(webhook_id=webhook_id)))

    @extend_schema(
        operation_id="update_webhook",
        tags=["webhooks"],
        request=WebhookInput,
        responses={200: WebhookOutput} | ERRORS,
    )
    def patch(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Change a webhook. While it is not enabled nothing new is stored for it, and what waits stays."""
        changes = _read(request, partial=True)
        return Response(represent_webhook(webhooks.update(webhook_id=webhook_id, changes=changes)))

    @extend_schema(operation_id="delete_webhook", tags=["webhooks"], responses={204: None} | ERRORS)
    def delete(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Delete a webhook, and with it what was not sent yet."""
        webhooks.delete(webhook_id=webhook_id)
        return Response(status=204)


class WebhookTest(ManagementView):
    scopes = _ADMIN

    @extend_schema(
        operation_id="test_webhook",
        tags=["webhooks"],
        request=None,
        responses={200: OutcomeOutput} | ERRORS,
    )
    def post(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Send an event `test` now, and answer with how that went: within 10 seconds."""
        webhook = webhooks.get(webhook_id=webhook_id)
        return Response(represent_outcome(deliveries.send_test(webhook=webhook)))


class WebhookDeliveries(ManagementView):
    scopes = _ADMIN

    @extend_schema(
        operation_id="list_webhook_deliveries",
        tags=["webhooks"],
        parameters=NEWEST_FIRST,
        responses={200: DeliveryListOutput} | ERRORS,
    )
    def get(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """What was sent to a webhook and what waits, newest first."""
        query.refuse_unknown(request, ("limit", "before"))
        webhook = webhooks.get(webhook_id=webhook_id)
        rows = WebhookDelivery.objects.filter(webhook=webhook).select_related("event")
        return newest_first(request, rows, word="deliveries", represent=represent_delivery)


def _read(request: Request, *, partial: bool = False) -> dict[str, Any]:
    body = WebhookInput(data=request.data, partial=partial)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)
