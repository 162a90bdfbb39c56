"""The evidence for the capabilities of models."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.domain.catalog.capabilities import Capability, EvidenceSource, Verdict
from models_app.models.choices import choices_of
from models_app.models.registry import ModelVersion, RegisteredModel


class CapabilityEvidence(models.Model):
    """The newest evidence of one source for one capability of one model."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="evidence")
    capability = models.CharField(max_length=32, choices=choices_of(Capability))
    source = models.CharField(max_length=16, choices=choices_of(EvidenceSource))
    verdict = models.CharField(max_length=16, choices=choices_of(Verdict))
    # A sentence with the observation.
    detail = models.TextField(blank=True)
    # The measured value, if there is one besides the verdict: {"effective_context": 4096}.
    value: Any = models.JSONField(null=True, blank=True)
    # Of a probe: SHA-256 of the request's JSON, the request itself, and the engine that answered.
    request_digest = models.CharField(max_length=64, blank=True)
    request: Any = models.JSONField(null=True, blank=True)
    engine = models.CharField(max_length=100, blank=True)
    version = models.ForeignKey(ModelVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    job_id = models.UUIDField(null=True, blank=True)
    checked_at = models.DateTimeField()

    class Meta:
        ordering = ["capability", "source"]
        verbose_name_plural = "capability evidence"
        constraints = [
            models.UniqueConstraint(fields=["model", "capability", "source"], name="one_word_per_source_and_capability")
        ]

    def __str__(self) -> str:
        return f"{self.model.key}: {self.capability} {self.verdict} ({self.source})"
