"""Rows of the access log, and the report on its completeness."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.models import AccessLog

FIELDS = (
    "request_id",
    "client_request_id",
    "started_at",
    "endpoint",
    "key_id",
    "requested_model",
    "route",
    "model_key",
    "provider",
    "instance_id",
    "version",
    "node",
    "stream",
    "status",
    "error_code",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_usd",
    "ttft_ms",
    "duration_ms",
    "queue_ms",
    "load_wait_ms",
    "attempts",
    "client",
    "end_user",
    "session",
    "tags",
    "trace_id",
    "aborted",
    "estimated",
    "requests",
)


class AccessOutput(serializers.ModelSerializer[AccessLog]):
    """One request through the gateway. Prompts and answers are not stored."""

    cost_usd = serializers.FloatField(allow_null=True, help_text="US dollars; null: no known price.")
    estimated = serializers.BooleanField(
        help_text="Whether the server did not state its counts: tokens and cost are then estimates, not too low."
    )
    requests = serializers.IntegerField(
        help_text="More than 1 sums up similar refused requests of one minute, whose durations are averaged."
    )

    class Meta:
        model = AccessLog
        fields = FIELDS
        read_only_fields = FIELDS


class AccessListOutput(serializers.Serializer[Any]):
    requests = AccessOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The page before this one in time.")


def represent_access(row: AccessLog) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS} | {"requests": row.requests or 1}


class AccountOutput(serializers.Serializer[Any]):
    """One web process: recorded = stored + waiting + dropped + quarantined + missing."""

    recorder = serializers.CharField(help_text="The prefix of its request ids.")
    node = serializers.CharField(allow_blank=True)
    pid = serializers.IntegerField(allow_null=True)
    started_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it last shipped rows.")
    recovered = serializers.BooleanField(help_text="Killed; another process shipped its spool.")
    recorded = serializers.IntegerField(help_text="Requests that it answered, by its own counter.")
    stored = serializers.IntegerField(help_text="Recorded requests that have a row.")
    rows = serializers.IntegerField(
        help_text="Rows in the log now: `stored` plus `cut_off`, minus those that retention deleted."
    )
    waiting = serializers.IntegerField(help_text="Records in its spool, if that is on this machine.")
    dropped = serializers.IntegerField(help_text="Lost: neither disk nor memory had room.")
    quarantined = serializers.IntegerField(help_text="Refused by the database, or damaged.")
    cut_off = serializers.IntegerField(help_text="Rows of requests that a kill ended.")
    missing = serializers.IntegerField(help_text="Recorded requests without a row or a known reason; normally 0.")


class ReportOutput(serializers.Serializer[Any]):
    complete = serializers.BooleanField(help_text="Whether `missing` is 0 for all processes.")
    processes = AccountOutput(many=True, help_text="The newest first.")
