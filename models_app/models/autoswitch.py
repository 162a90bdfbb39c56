"""Automatic switching of routes to the best performing model."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.models.routes import Route


class AutoSwitch(models.Model):
    """The policy of one route and the state of its decisions. Disabled by default."""

    route = models.OneToOneField(Route, on_delete=models.CASCADE, related_name="auto_switch")
    enabled = models.BooleanField(default=False)
    # Decides and publishes events, without moving the route.
    dry_run = models.BooleanField(default=False)
    # Only models with this capability are candidates.
    capability = models.CharField(max_length=32, default="chat_completion")
    # The weight of each figure: models_app.domain.residency.autoswitch.CURVES.
    weights: Any = models.JSONField(default=dict)
    # The lead over the present model that a candidate must have, as a share of its score.
    threshold = models.FloatField(default=0.15)
    # The number of consecutive decisions with that lead before the route moves.
    confirmations = models.PositiveSmallIntegerField(default=3)
    cool_down_seconds = models.PositiveIntegerField(default=1800)
    # The fewest requests, of traffic and profiles together, that a decision is based on.
    min_requests = models.PositiveIntegerField(default=30)
    # The state of the decisions.
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
