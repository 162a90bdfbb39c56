"""Background work that a user or a program requested."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from models_app.domain.residency.ledger import LedgerCause
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind, JobState
from models_app.models.choices import choices_of, in_words


class Job(models.Model):
    """The public record of background work. States change only through `models_app.services.jobs.jobs`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=choices_of(JobKind))
    # Its subject: a model key, a route, a provider.
    subject = models.CharField(max_length=255, blank=True)
    arguments = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=16, choices=choices_of(JobState), default=JobState.QUEUED, db_index=True)
    # [{"name", "state": "running" | "done" | "failed", "started_at", "seconds", "detail"}]
    steps = models.JSONField(default=list, blank=True)
    # 0 to 1.
    progress = models.FloatField(default=0.0)
    result = models.JSONField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    actor = models.CharField(max_length=150, blank=True)
    # The API key that pays for its requests to a provider; empty for a user of the console.
    key_id = models.CharField(max_length=32, blank=True, default="", db_default="")
    # Its cause, as in the ledger, and the request that led to it.
    cause = models.CharField(max_length=16, choices=choices_of(LedgerCause), blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    # Whether it can unload other models to free memory.
    may_evict = models.BooleanField(default=True)
    # Set by a cancellation; the job ends at its next step, or at once where it can.
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, blank=True)
    # False from the commit point on: the start of a drain, or the move of a route.
    cancellable = models.BooleanField(default=True)
    # The queue of the workers that can run it: `node.<name>`, or `common`; see `models_app.services.jobs.queues`.
    queue = models.CharField(max_length=80, blank=True)
    # The node that ran it.
    node = models.CharField(max_length=64, blank=True)
    # The node that the request named; empty where NOA chooses.
    asked_node = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # Concurrent requests for the same work share one job.
            models.UniqueConstraint(
                fields=["kind", "subject", "asked_node"],
                condition=Q(state__in=in_words(ACTIVE_JOB_STATES)),
                name="one_active_job_per_subject",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} ({self.state})"
