"""Routes that move by themselves to the model that performs best."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.models.routes import Route


class AutoSwitch(models.Model):
    """The policy of one route and where its decisions stand. Off until somebody enables it."""

    route = models.OneToOneField(Route, on_delete=models.CASCADE, related_name="auto_switch")
    enabled = models.BooleanField(default=False)
    # Decides and tells, and moves nothing.
    dry_run = models.BooleanField(default=False)
    # Only models that have it are candidates.
    capability = models.CharField(max_length=32, default="chat_completion")
    # How much each figure counts: models_app.domain.residency.autoswitch.FIGURES.
    weights: Any = models.JSONField(default=dict)
    # How much better than the present model another one must be, as a share of its score.
    threshold = models.FloatField(default=0.15)
    # In how many looks in a row.
    confirmations = models.PositiveSmallIntegerField(default=3)
    cool_down_seconds = models.PositiveIntegerField(default=1800)
    # Fewer requests than that, of traffic and profiles together, are not enough to judge a model by.
    min_requests = models.PositiveIntegerField(default=30)
    # Where the decisions stand.
    leader_key = models.CharField(max_length=255, blank=True, editable=False)
    leader_looks = models.PositiveIntegerField(default=0, editable=False)
    moved_at = models.DateTimeField(null=True, blank=True, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    # The last decision with its numbers.
    decision: Any = models.JSONField(null=True, editable=False)

    class Meta:
        ordering = ["route__name"]
        verbose_name = "auto-switch"
        verbose_name_plural = "auto-switches"

    def __str__(self) -> str:
        return f"{self.route.name} by {self.capability}"
