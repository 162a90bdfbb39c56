"""Snapshots of the desired state."""

from __future__ import annotations

from typing import Any

from django.db import models


class StateSnapshot(models.Model):
    """A named snapshot: the models to load with their options, and the targets of routes."""

    name = models.CharField(max_length=100, unique=True)
    content: Any = models.JSONField()
    actor = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name
