"""The audit log, and the idempotency keys of requests."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.models.jobs import Job


class AuditEntry(models.Model):
    """One call that changes something, allowed or refused. Rows are written once."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    # `key:<name>`, `user:<name>`, or empty for a caller without a usable key.
    actor = models.CharField(max_length=150, blank=True, db_index=True)
    # `api`, `console` or `command`.
    channel = models.CharField(max_length=16)
    # The operation's name in the OpenAPI document, or the console's action.
    action = models.CharField(max_length=64)
    method = models.CharField(max_length=8, blank=True)
    path = models.CharField(max_length=500, blank=True)
    # The changed object: a model key, a route, a key id.
    subject = models.CharField(max_length=255, blank=True, db_index=True)
    # The body, with every secret left out.
    arguments: Any = models.JSONField(default=dict, blank=True)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    client = models.CharField(max_length=64, blank=True)
    job_id = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor or 'anonymous'} {self.action} {self.subject} ({self.status})"


class IdempotencyKey(models.Model):
    """A request that a client can repeat without repeating its work."""

    # Keys are scoped by caller: two callers can choose the same key.
    actor = models.CharField(max_length=150)
    key = models.CharField(max_length=255)
    operation = models.CharField(max_length=64)
    # SHA-256 of the canonical body.
    digest = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, related_name="+")
    # The stored answer of a call that creates no job.
    status = models.PositiveSmallIntegerField(null=True)
    answer: Any = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["actor", "key"], name="one_request_per_idempotency_key")]

    def __str__(self) -> str:
        return f"{self.operation} {self.key}"
