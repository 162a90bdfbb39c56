"""Models that are being recovered, or were given up."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.models.registry import RegisteredModel


class Recovery(models.Model):
    """The recovery of a model whose runner died on a node, hung, or could not be restarted.

    Written by `models_app.services.runners.recovery`. A row outlives the recovery, so that later deaths are counted.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="recoveries")
    node = models.CharField(max_length=64)
    # Unix seconds of the deaths that still count, oldest first.
    deaths: Any = models.JSONField(default=list, blank=True)
    # Consecutive attempts that were refused, for example for lack of memory.
    refusals = models.PositiveIntegerField(default=0)
    # When the next attempt is due; null when there is none: it serves again, or is not part of the desired state.
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    # When it should serve again, by the duration of earlier loads.
    back_at = models.DateTimeField(null=True, blank=True)
    # The job of the attempt in progress, until its result was counted.
    attempt = models.UUIDField(null=True, blank=True)
    # When it was given up: until the next attempt, requests are refused at once.
    given_up_at = models.DateTimeField(null=True, blank=True)
    # How often in a row, until it has served for a while; the rest between two attempts follows from it.
    times_given_up = models.PositiveIntegerField(default=0, db_default=0)
    reason = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "recoveries"
        constraints = [models.UniqueConstraint(fields=["model", "node"], name="one_recovery_per_model_and_node")]

    def __str__(self) -> str:
        return f"{self.model.key}: {'given up' if self.given_up_at else self.due_at}"
