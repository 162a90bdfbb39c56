"""The schema of events; `models_app.services.events.events.represent` builds them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.domain.events import EventName

ANYTHING: dict[str, Any] = {"nullable": True}


@extend_schema_field(ANYTHING)
class AnythingField(serializers.JSONField):
    """Any JSON value, null included."""


class EventOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="Grows with time; a stream can be resumed after it.")
    name = serializers.ChoiceField(choices=[name.value for name in EventName])
    subject = serializers.CharField(allow_blank=True, help_text="Its subject: a model's key, a route, a provider.")
    message = serializers.CharField(allow_blank=True, help_text="A sentence for people.")
    actor = serializers.CharField(allow_blank=True, help_text="`key:<name>`, `user:<name>`, or a part of NOA.")
    cause = serializers.CharField(allow_blank=True, help_text="Why it happened.")
    before = AnythingField(allow_null=True, help_text="The state before.")
    after = AnythingField(allow_null=True, help_text="The state after.")
    job_id = serializers.UUIDField(allow_null=True)
    data = serializers.DictField()  # type: ignore[assignment]
    created_at = serializers.DateTimeField()


class EventListOutput(serializers.Serializer[Any]):
    events = EventOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The page before this one in time.")
