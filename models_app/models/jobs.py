"""Background work that a person or a program asked for."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from models_app.domain.residency.ledger import LedgerCause
from models_app.domain.states import ACTIVE_JOB_STATES, JobKind, JobState
from models_app.models.choices import choices_of, in_words


class Job(models.Model):
    """The public face of background work. States move only through `models_app.services.jobs.jobs`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=choices_of(JobKind))
    # What it is about: a model key, a route, a provider.
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
    # What made it happen, as the ledger says it, and the request that wanted it.
    cause = models.CharField(max_length=16, choices=choices_of(LedgerCause), blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    # Whether it may unload other models to make room.
    may_evict = models.BooleanField(default=True)
    # Set when somebody wants it to end; the job ends at its next step or at once where it can.
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, blank=True)
    # Not any more once the job has begun what cannot be taken back: to drain, to move a route.
    cancellable = models.BooleanField(default=True)
    # Which worker may run it: `node.<name>`, or `common`; see `models_app.services.jobs.queues`.
    queue = models.CharField(max_length=80, blank=True)
    # The node that ran it.
    node = models.CharField(max_length=64, blank=True)
    # The node for which it was asked by name; empty where NOA chooses.
    asked_node = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            # Many who ask for the same at once share one job.
            models.UniqueConstraint(
                fields=["kind", "subject", "asked_node"],
                condition=Q(state__in=in_words(ACTIVE_JOB_STATES)),
                name="one_active_job_per_subject",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} ({self.state})"
