"""Who waits for which model, as the web processes tell it, and which requests are suspected of killing runners."""

from __future__ import annotations

from django.db import models

from models_app.models.registry import RegisteredModel


class Demand(models.Model):
    """Requests of one web process that wait for one model. A row whose process has gone is void when it expires."""

    process = models.CharField(max_length=64)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="demand")
    waiting = models.PositiveIntegerField()
    # When the one that has waited longest came.
    since = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "demand"
        constraints = [models.UniqueConstraint(fields=["process", "model"], name="one_demand_per_process")]

    def __str__(self) -> str:
        return f"{self.waiting} for {self.model.key}"


class Suspect(models.Model):
    """A request that was in a runner when that died. Whether the runner crashed is told by its instance."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="suspects")
    # Of what was asked: models_app.domain.residency.suspects.digest.
    digest = models.CharField(max_length=64)
    # Of the model, when it happened: another version is not suspected of anything.
    version = models.CharField(max_length=64, blank=True)
    instance_id = models.UUIDField()
    request_id = models.CharField(max_length=64, blank=True)
    # While it waits to be asked once more, or is: one suspect after another, so that the guilty one is alone.
    on_trial = models.BooleanField(default=True)
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["digest", "instance_id"], name="one_suspicion_per_instance")]

    def __str__(self) -> str:
        return f"{self.digest[:12]} of {self.model.key}"
