"""Loaded copies of models."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from models_app.domain.residency.health import Health
from models_app.domain.states import SERVING_INSTANCE_STATES, InstanceState
from models_app.models.choices import choices_of, in_words
from models_app.models.registry import ModelVersion, RegisteredModel


class Instance(models.Model):
    """One loaded copy of a model version: for llama.cpp, one runner process.

    The state moves only through `models_app.services.runners.instances`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="instances")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, null=True, related_name="+")
    node = models.CharField(max_length=64)
    state = models.CharField(
        max_length=16,
        choices=choices_of(InstanceState),
        default=InstanceState.QUEUED,
        db_index=True,
    )
    pid = models.PositiveIntegerField(null=True, blank=True)
    # Distinguishes a process from a later one with the same number: models_app.engines.identity.
    pid_identity = models.CharField(max_length=96, blank=True, default="", db_default="")
    # Unix seconds, for display: the start of a process moves when the wall clock is set.
    pid_started_at = models.FloatField(null=True, blank=True)
    socket = models.CharField(max_length=108, blank=True)
    options = models.JSONField(default=dict, blank=True)
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    slots = models.PositiveIntegerField(null=True, blank=True)
    memory_estimate_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    # Memory of GPUs, as predicted.
    memory_vram_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    memory_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    predicted_load_seconds = models.FloatField(null=True, blank=True)
    load_seconds = models.FloatField(null=True, blank=True)
    # When it last had a request; orders instances by least recent use.
    last_used_at = models.DateTimeField(null=True, blank=True)
    failure_stage = models.CharField(max_length=32, blank=True)
    failure_reason = models.TextField(blank=True)
    # Of one that hung: the requests whose own work kept it busy, if known. NULL for every other end.
    hung_requests = models.JSONField(null=True, blank=True)
    # The result of health checks, since when, and the reason of a failure; see `models_app.services.runners.health`.
    health = models.CharField(max_length=16, choices=choices_of(Health), default=Health.UNKNOWN)
    health_since = models.DateTimeField(null=True, blank=True)
    health_reason = models.CharField(max_length=500, blank=True)
    # When it last computed a token: for a request or a health check.
    last_success_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # Coalesces concurrent loads into one.
            models.UniqueConstraint(
                fields=["model", "node"],
                condition=Q(state__in=in_words(SERVING_INSTANCE_STATES)),
                name="one_serving_instance_per_node",
            ),
            # A remote model needs only one: it is not a process.
            models.UniqueConstraint(
                fields=["model"],
                condition=Q(state__in=in_words(SERVING_INSTANCE_STATES), version=None),
                name="one_serving_instance_of_remote",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model.key} on {self.node} ({self.state})"

    @property
    def fingerprint(self) -> str:
        """The `system_fingerprint` of answers: the version's digest and this instance."""
        digest = self.version.sha256[:12] if self.version else "unknown"
        return f"{digest}-{self.id.hex[:8]}"
