"""Measured benchmarks of models."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from models_app.domain.states import ProfileState
from models_app.models.registry import ModelVersion, RegisteredModel


class ProfileRun(models.Model):
    """One profile: its settings, its environment, and the summary of its samples."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="profiles")
    version = models.ForeignKey(ModelVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    job_id = models.UUIDField(null=True, blank=True)
    # models_app.services.profiling.profiling.ProfileSettings as a dictionary.
    settings: Any = models.JSONField(default=dict)
    # The digest of the settings that influence a request: runs of one class are comparable.
    settings_class = models.CharField(max_length=16, blank=True)
    # Engine, instance, load options, node, and the other load of the machine.
    environment: Any = models.JSONField(default=dict)
    # {"stages": [models_app.domain.measuring.figures.of_stage, …], "memory", "energy", …}; null until it is complete.
    summary: Any = models.JSONField(null=True)
    # Set together with the summary: only a complete run has one.
    complete = models.BooleanField(default=False)
    # Why a run that has ended is not complete.
    incomplete_reason = models.CharField(max_length=500, blank=True)
    # Marked by a user as the baseline of later runs of its class, in place of the last one.
    baseline = models.BooleanField(default=False)
    # The run that this one was compared with, and the result: models_app.services.profiling.comparing.
    compared_with = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    comparison: Any = models.JSONField(null=True)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "settings_class"],
                condition=Q(baseline=True),
                name="one_baseline_per_model_and_class",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model.key} {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def state(self) -> ProfileState:
        if self.complete:
            return ProfileState.COMPLETE
        return ProfileState.INCOMPLETE if self.finished_at else ProfileState.RUNNING


class ProfileSample(models.Model):
    """One request of a profile; see models_app.domain.measuring.figures.Sample. Durations are milliseconds."""

    run = models.ForeignKey(ProfileRun, on_delete=models.CASCADE, related_name="samples")
    # The index of its stage in the run, and the concurrency of that stage.
    stage = models.PositiveSmallIntegerField(default=0)
    concurrency = models.PositiveSmallIntegerField(default=1)
    number = models.PositiveIntegerField()
    ok = models.BooleanField()
    error = models.CharField(max_length=255, blank=True)
    prompt_tokens = models.PositiveIntegerField(null=True)
    cached_tokens = models.PositiveIntegerField(null=True)
    completion_tokens = models.PositiveIntegerField(null=True)
    started_ms = models.FloatField(default=0.0)
    ttft_ms = models.FloatField(null=True)
    e2el_ms = models.FloatField()
    # Milliseconds between the pieces of the answer.
    gaps_ms: Any = models.JSONField(default=list)

    class Meta:
        ordering = ["stage", "number"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"
