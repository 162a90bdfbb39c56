"""The ledger of changes to loaded models with their reasons, and the measurements of loads."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.domain.residency.ledger import LedgerCause, LedgerKind, LedgerOutcome
from models_app.models.choices import choices_of


class LedgerEntry(models.Model):
    """One load, unload, eviction, refusal, switch or recovery.

    Rows are written once, by `models_app.services.catalog.ledger`. Keys and the instance's id are text: the history
    outlives its subjects.
    """

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    kind = models.CharField(max_length=16, choices=choices_of(LedgerKind))
    model_key = models.CharField(max_length=255)
    cause = models.CharField(max_length=16, choices=choices_of(LedgerCause))
    actor = models.CharField(max_length=150, blank=True)
    # The id of the request to the gateway or the API that caused it.
    request_id = models.CharField(max_length=64, blank=True)
    node = models.CharField(max_length=64, blank=True)
    instance_id = models.UUIDField(null=True, blank=True)
    version = models.CharField(max_length=64, blank=True)
    job_id = models.UUIDField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=choices_of(LedgerOutcome))
    # A sentence for a person, or the part of one that follows "because".
    reason = models.TextField(blank=True)
    # Models that were considered: [{"key", "verdict", "why", "bytes", "idle_seconds"}].
    candidates: Any = models.JSONField(default=list, blank=True)
    predicted_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    measured_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    predicted_seconds = models.FloatField(null=True, blank=True)
    measured_seconds = models.FloatField(null=True, blank=True)
    data: Any = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "ledger entries"
        indexes = [models.Index(fields=["model_key", "-id"], name="ledger_of_a_model")]

    def __str__(self) -> str:
        return f"{self.kind} {self.model_key} ({self.outcome})"


class LoadMeasurement(models.Model):
    """Memory and time of one load of a version with certain options, on one node and with one build of the engine."""

    at = models.DateTimeField(auto_now_add=True)
    node = models.CharField(max_length=64)
    version = models.CharField(max_length=64)
    # A digest of the options and the build of the engine, which determine memory.
    shape = models.CharField(max_length=64)
    memory_bytes = models.PositiveBigIntegerField()
    load_seconds = models.FloatField()
    # The file's size, from which the node's load speed is estimated.
    file_bytes = models.PositiveBigIntegerField()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["node", "version", "shape", "-id"], name="measurements_of_a_load")]

    def __str__(self) -> str:
        return f"{self.version[:12]} on {self.node}: {self.memory_bytes} bytes"
