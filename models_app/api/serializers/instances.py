"""Loaded models."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.residency.health import Health
from models_app.models import Instance


class HealthOutput(serializers.Serializer[Any]):
    state = serializers.ChoiceField(
        choices=[word.value for word in Health],
        help_text="`unknown` also while the worker of its node sends no heartbeat.",
    )
    since = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_blank=True, help_text="Why it is not `healthy`.")
    last_success_at = serializers.DateTimeField(
        allow_null=True,
        help_text="When it last computed a token, for a request or a canary; up to 10 seconds old.",
    )


class InstanceOutput(serializers.ModelSerializer[Instance]):
    key = serializers.CharField(source="model.key", read_only=True)
    in_flight = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Requests in flight, read from the runner now."
    )
    fingerprint = serializers.CharField(read_only=True)
    health = HealthOutput(source="health_shown", read_only=True)

    class Meta:
        model = Instance
        fields = [
            "id",
            "key",
            "node",
            "state",
            "pid",
            "pid_started_at",
            "context_tokens",
            "slots",
            "memory_bytes",
            "memory_estimate_bytes",
            "in_flight",
            "load_seconds",
            "fingerprint",
            "health",
            "options",
            "created_at",
            "ready_at",
        ]
        read_only_fields = fields


class LoadedOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    current_model = serializers.CharField(allow_null=True)
    instances = InstanceOutput(many=True)
