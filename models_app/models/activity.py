"""What models did, summed up by hour."""

from __future__ import annotations

from django.db import models


class Activity(models.Model):
    """One hour of one model as one API key used it. Keys are text, so that history survives a deregistration.

    Sums only: averages of any period are sums divided, and histograms add up. See `models_app.services.activity`.
    """

    hour = models.DateTimeField()
    # Empty for requests that reached no model; `*` for the row that sums up all requests of the hour.
    model_key = models.CharField(max_length=255)
    # The API key's id; empty for what had none.
    key_id = models.CharField(max_length=32, blank=True)
    # Reads of the registry entry; everything below counts requests through the gateway.
    reads = models.PositiveBigIntegerField(default=0)
    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    # Requests that the client left or that broke before their answer was whole.
    aborted = models.PositiveBigIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=18, decimal_places=10, default=0)
    # Requests whose cost is not known.
    unpriced = models.PositiveBigIntegerField(default=0)
    duration_ms = models.FloatField(default=0.0)
    # Completion tokens of, and milliseconds spent in, answers whose speed could be measured.
    timed_tokens = models.PositiveBigIntegerField(default=0)
    generation_ms = models.FloatField(default=0.0)
    # Histograms of models_app.domain.histogram: {"<bucket>": count}.
    durations = models.JSONField(default=dict)
    ttfts = models.JSONField(default=dict)
    last_at = models.DateTimeField()

    class Meta:
        ordering = ["-hour"]
        verbose_name_plural = "activity"
        constraints = [
            models.UniqueConstraint(
                fields=["model_key", "hour", "key_id"], name="one_row_per_model_hour_and_key"
            )
        ]
        indexes = [models.Index(fields=["hour"], name="activity_by_hour")]

    def __str__(self) -> str:
        return f"{self.model_key} {self.hour:%Y-%m-%d %H}h"
