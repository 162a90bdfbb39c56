"""Webhooks and their outbox."""

from __future__ import annotations

import uuid

from django.db import models

from models_app.models.events import Event


class Webhook(models.Model):
    """An address to which events are sent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField(max_length=500)
    # Signs each delivery; encrypted by `models_app.services.coordination.secrets`.
    secret = models.TextField(editable=False)
    # Names of events; empty is all.
    events = models.JSONField(default=list, blank=True)
    enabled = models.BooleanField(default=True)
    description = models.CharField(max_length=255, blank=True)
    allow_private_addresses = models.BooleanField(default=False)
    # Since a delivery has used up its attempts; null again as soon as one arrives.
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """The delivery of one event to one webhook."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="+")
    # pending, delivered, or failed: no more attempts.
    state = models.CharField(max_length=16, default="pending")
    attempts = models.PositiveSmallIntegerField(default=0)
    # While it is being sent, the end of its lease, after which another worker can claim it.
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        constraints = [models.UniqueConstraint(fields=["webhook", "event"], name="one_delivery_per_event_and_webhook")]
        indexes = [models.Index(fields=["state", "next_attempt_at"], name="deliveries_that_are_due")]

    def __str__(self) -> str:
        return f"{self.event_id} to {self.webhook.url} ({self.state})"
