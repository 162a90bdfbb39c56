"""Rows of the access log."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.models import AccessLog

FIELDS = (
    "request_id", "client_request_id", "started_at", "endpoint", "key_id", "requested_model", "route", "model_key",
    "provider", "instance_id", "version", "node", "stream", "status", "error_code", "prompt_tokens", "cached_tokens",
    "cache_write_tokens", "completion_tokens", "reasoning_tokens", "cost_usd", "ttft_ms", "duration_ms",
    "queue_ms", "load_wait_ms", "attempts",
    "client", "aborted",
)  # fmt: skip


class AccessOutput(serializers.ModelSerializer[AccessLog]):
    """One request through the gateway. Prompts and answers are not stored."""

    cost_usd = serializers.FloatField(
        allow_null=True, help_text="US dollars; null is no price known."
    )

    class Meta:
        model = AccessLog
        fields = FIELDS
        read_only_fields = FIELDS


class AccessListOutput(serializers.Serializer[Any]):
    requests = AccessOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The page before this one in time.")


def represent_access(row: AccessLog) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}
