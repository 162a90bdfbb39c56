"""Stored prompts and answers, and the rules that select them."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


class TextRule(models.Model):
    """The rule of one API key or one route. Without a rule no text is stored."""

    # `key:<id>` or `route:<name>`; as text, so that a rule can exist before its subject.
    subject = models.CharField(max_length=80, unique=True)
    share = models.FloatField(default=1.0, validators=[MinValueValidator(0.0), MaxValueValidator(1.0)])
    max_bytes = models.PositiveIntegerField(default=16_384)
    days = models.PositiveSmallIntegerField(default=7)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["subject"]

    def __str__(self) -> str:
        return self.subject


class AccessText(models.Model):
    """The prompt and the answer of one request: the bodies as transmitted, truncated and redacted."""

    request_id = models.CharField(max_length=64, unique=True)
    started_at = models.DateTimeField()
    delete_at = models.DateTimeField(db_index=True)
    key_id = models.CharField(max_length=32, blank=True)
    route = models.CharField(max_length=64, blank=True)
    model_key = models.CharField(max_length=255, blank=True)
    prompt = models.TextField(blank=True)
    answer = models.TextField(blank=True)
    # Whether one of the two exceeded the rule's limit.
    is_cut = models.BooleanField(default=False)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.request_id
