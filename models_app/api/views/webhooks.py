"""Webhooks: addresses that receive events."""

from __future__ import annotations

import uuid

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.pagination import NewestFirst
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
from models_app.api.views.base import ManagementViewSet
from models_app.models import Webhook, WebhookDelivery
from models_app.services.events import deliveries, webhooks


class DeliveryPages(NewestFirst):
    word = "deliveries"


class WebhookViewSet(ManagementViewSet):
    lookup_url_kwarg = "webhook_id"
    lookup_value_converter = "uuid"

    @extend_schema(
        operation_id="list_webhooks",
        summary="List webhooks",
        tags=["webhooks"],
        responses={200: WebhookListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All webhooks, newest first."""
        return Response({"webhooks": [represent_webhook(row) for row in Webhook.objects.all()]})

    @extend_schema(
        operation_id="create_webhook",
        summary="Create a webhook",
        tags=["webhooks"],
        request=WebhookInput,
        responses={201: CreatedWebhookOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Send events to an address. Only this answer contains a generated secret."""
        webhook, secret = webhooks.create(**self.validated(WebhookInput), actor=actor_of(request))
        location = reverse("api:webhook", kwargs={"webhook_id": webhook.pk})
        answer = represent_webhook(webhook) | {"secret": secret}
        return Response(answer, status=201, headers={"Location": location})

    @extend_schema(
        operation_id="get_webhook",
        summary="Get a webhook",
        tags=["webhooks"],
        responses={200: WebhookOutput} | ERRORS,
    )
    def retrieve(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """One webhook, without its secret."""
        query.refuse_unknown(request, ())
        return Response(represent_webhook(webhooks.get(webhook_id=webhook_id)))

    @extend_schema(
        operation_id="update_webhook",
        summary="Change a webhook",
        tags=["webhooks"],
        request=WebhookInput,
        responses={200: WebhookOutput} | ERRORS,
    )
    def partial_update(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Change a webhook. While it is disabled, no new deliveries are stored for it; pending ones stay."""
        changes = self.validated(WebhookInput, partial=True)
        return Response(represent_webhook(webhooks.update(webhook_id=webhook_id, changes=changes)))

    @extend_schema(
        operation_id="delete_webhook",
        summary="Delete a webhook",
        tags=["webhooks"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Delete a webhook and its pending deliveries."""
        webhooks.delete(webhook_id=webhook_id)
        return Response(status=204)

    @extend_schema(
        operation_id="test_webhook",
        summary="Test a webhook",
        tags=["webhooks"],
        request=None,
        responses={200: OutcomeOutput} | ERRORS,
    )
    @action(detail=True, methods=["post"], url_name="webhook-test")
    def test(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """Send an event `test` now, and answer with the outcome within 10 seconds."""
        webhook = webhooks.get(webhook_id=webhook_id)
        return Response(represent_outcome(deliveries.send_test(webhook=webhook)))

    @extend_schema(
        operation_id="list_webhook_deliveries",
        summary="List deliveries of a webhook",
        tags=["webhooks"],
        responses={200: DeliveryListOutput} | ERRORS,
    )
    @action(detail=True, url_name="webhook-deliveries", pagination_class=DeliveryPages)
    def deliveries(self, request: Request, webhook_id: uuid.UUID) -> Response:
        """The sent and the pending deliveries of a webhook, newest first."""
        webhook = webhooks.get(webhook_id=webhook_id)
        rows = WebhookDelivery.objects.filter(webhook=webhook).select_related("event")
        return self.paginated(rows, represent_delivery)
