"""Roll-ups of traffic: by hour and API key, kept for good, and by route in time steps that grow with age."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.domain.windows import RollupStep
from models_app.models.choices import choices_of


class TrafficSums(models.Model):
    """Requests through the gateway, added up.

    Sums only: averages of any period are quotients of sums, and histograms are added.
    """

    requests = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    # Requests whose client disconnected, or that failed, before their answer was complete.
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
    # Histograms of models_app.domain.measuring.histogram: {"<bucket>": count}.
    durations = models.JSONField(default=dict)
    ttfts = models.JSONField(default=dict)
    last_at = models.DateTimeField()
    # A column of Activity only; the sums of all tables have the same names.
    reads: Any = 0

    class Meta:
        abstract = True


class Activity(TrafficSums):
    """One hour of one model and one API key. Keys are text, so that history survives a deregistration."""

    hour = models.DateTimeField()
    # Empty for requests that reached no model; `*` for the row that sums up all requests of the hour.
    model_key = models.CharField(max_length=255)
    # The API key's id; empty without one.
    key_id = models.CharField(max_length=32, blank=True)
    # Reads of the registry entry; everything else counts requests through the gateway.
    reads = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-hour"]
        verbose_name_plural = "activity"
        constraints = [
            models.UniqueConstraint(fields=["model_key", "hour", "key_id"], name="one_row_per_model_hour_and_key")
        ]
        indexes = [models.Index(fields=["hour"], name="activity_by_hour")]

    def __str__(self) -> str:
        return f"{self.model_key} {self.hour:%Y-%m-%d %H}h"


class Traffic(TrafficSums):
    """One time step of one model through one route. Short steps are deleted when longer ones suffice."""

    step = models.CharField(max_length=16, choices=choices_of(RollupStep))
    start = models.DateTimeField()
    # As in Activity; in the row of all requests the route is `*` too.
    model_key = models.CharField(max_length=255)
    # Empty for requests that named a model by its key.
    route = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-start"]
        verbose_name_plural = "traffic"
        constraints = [
            models.UniqueConstraint(
                fields=["step", "start", "model_key", "route"],
                name="one_row_per_step_model_and_route",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_key} {self.step} {self.start:%Y-%m-%d %H:%M}"
