"""Measured benchmarks of models."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models

from models_app.models.registry import ModelVersion, RegisteredModel


class ProfileRun(models.Model):
    """One profile: its settings, what it ran on, and the summary of its samples."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="profiles")
    version = models.ForeignKey(
        ModelVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    job_id = models.UUIDField(null=True, blank=True)
    # Requests, concurrency, prompt and answer lengths.
    settings: Any = models.JSONField(default=dict)
    # Engine, instance, load options, node.
    environment: Any = models.JSONField(default=dict)
    # {"ttft_ms": {"p50", "p95", "p99", "mean"}, …, "success_rate"}; null until it is complete.
    summary: Any = models.JSONField(null=True)
    complete = models.BooleanField(default=False)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.model.key} {self.started_at:%Y-%m-%d %H:%M}"


class ProfileSample(models.Model):
    """One request of a profile. Durations are milliseconds."""

    run = models.ForeignKey(ProfileRun, on_delete=models.CASCADE, related_name="samples")
    number = models.PositiveIntegerField()
    ok = models.BooleanField()
    error = models.CharField(max_length=255, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    ttft_ms = models.FloatField(null=True)
    duration_ms = models.FloatField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"
