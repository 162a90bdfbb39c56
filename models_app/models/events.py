"""Events, in the order of their publication."""

from __future__ import annotations

from typing import Any

from django.db import models

from models_app.domain.events import EventName
from models_app.models.choices import choices_of


class Event(models.Model):
    """One event. Rows are written once, by `models_app.services.events.events`."""

    name = models.CharField(max_length=32, choices=choices_of(EventName), db_index=True)
    subject = models.CharField(max_length=255, blank=True, db_index=True)
    # A sentence for a person.
    message = models.TextField(blank=True)
    # Its origin: a user, an API key, or a part of NOA.
    actor = models.CharField(max_length=150, blank=True)
    # The reason, in a word or a sentence: "requested", "route moved", "the runner died".
    cause = models.CharField(max_length=255, blank=True)
    # The changed value before and after; null where there is none.
    before: Any = models.JSONField(null=True, blank=True)
    after: Any = models.JSONField(null=True, blank=True)
    job_id = models.UUIDField(null=True, blank=True)
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} {self.subject}"
