"""Requests that wait for models, reported by web processes, and requests suspected of crashing runners."""

from __future__ import annotations

from django.db import models

from models_app.models.registry import RegisteredModel


class Demand(models.Model):
    """Requests of one web process that wait for one model. The row of a dead process expires."""

    process = models.CharField(max_length=64)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="demand")
    waiting = models.PositiveIntegerField()
    # The arrival of the request that has waited longest.
    since = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "demand"
        constraints = [models.UniqueConstraint(fields=["process", "model"], name="one_demand_per_process")]

    def __str__(self) -> str:
        return f"{self.waiting} for {self.model.key}"


class Suspect(models.Model):
    """A request that was in flight when its runner died. The instance records whether the runner crashed."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="suspects")
    # The digest of the request's content: models_app.domain.traffic.digests.
    digest = models.CharField(max_length=64)
    # The model's version at that time: the suspicion does not apply to others.
    version = models.CharField(max_length=64, blank=True)
    instance_id = models.UUIDField()
    request_id = models.CharField(max_length=64, blank=True)
    # While it waits for its retry or is retried: suspects are retried one at a time, to isolate the one that crashes.
    on_trial = models.BooleanField(default=True)
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["digest", "instance_id"], name="one_suspicion_per_instance")]

    def __str__(self) -> str:
        return f"{self.digest[:12]} of {self.model.key}"
