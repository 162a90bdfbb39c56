"""Models that are being brought back, or were given up."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.models.registry import RegisteredModel


class Recovery(models.Model):
    """What is known of a model whose runner died on a node, hung, or could not be started again.

    Written by `models_app.services.runners.recovery`. A row outlives the recovery, so that deaths that follow are counted.
    """

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="recoveries")
    node = models.CharField(max_length=64)
    # Unix seconds of the deaths that still count, oldest first.
    deaths: Any = models.JSONField(default=list, blank=True)
    # Attempts that were refused, in a row: for lack of memory, say.
    refusals = models.PositiveIntegerField(default=0)
    # When the next attempt is made; null when none is due: it serves again, or it was given up.
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    # When it should serve again, by what loads have taken.
    back_at = models.DateTimeField(null=True, blank=True)
    # No attempt is made any more until somebody asks.
    given_up_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "recoveries"
        constraints = [models.UniqueConstraint(fields=["model", "node"], name="one_recovery_per_model_and_node")]

    def __str__(self) -> str:
        return f"{self.model.key}: {'given up' if self.given_up_at else self.due_at}"
