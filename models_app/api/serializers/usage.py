"""The schema of usage and statistics, which `services.catalog.usage` and `services.reporting.statistics` compute."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.periods import Step
from models_app.domain.states import ModelStatus


class PercentilesOutput(serializers.Serializer[Any]):
    """Milliseconds, within 4.9 %; null without measurements."""

    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class LatencyOutput(PercentilesOutput):
    """Milliseconds, the percentiles within 4.9 %; null without measurements."""

    mean = serializers.FloatField(allow_null=True)


class RequestSumsOutput(serializers.Serializer[Any]):
    requests = serializers.IntegerField(help_text="Through the gateway.")
    errors = serializers.IntegerField(  # type: ignore[assignment]
        help_text="Answered with an error, or broken; not those whose client disconnected."
    )
    aborted = serializers.IntegerField(help_text="Ended by either side before the answer was complete.")
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Part of the prompt tokens.")
    completion_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField(help_text="Of the requests with a known price.")
    unpriced = serializers.IntegerField(help_text="Requests with tokens without a known price.")
    success_rate = serializers.FloatField(allow_null=True, help_text="1 - errors / requests.")
    tokens_per_second = serializers.FloatField(
        allow_null=True, help_text="Of one streamed answer, after its first token."
    )
    latency_ms = LatencyOutput()
    ttft_ms = PercentilesOutput(help_text="Time to the first token of streamed answers.")


class SumsOutput(RequestSumsOutput):
    reads = serializers.IntegerField(help_text="Reads of the registry entry.")


class UsagePointOutput(SumsOutput):
    start = serializers.DateTimeField()


class UsageByKeyOutput(SumsOutput):
    key_id = serializers.CharField(allow_blank=True, help_text="Of an API key; empty for requests without one.")
    name = serializers.CharField(allow_null=True, help_text="null for a deleted key.")


class UsageOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    accesses = serializers.IntegerField(help_text="Reads and requests since it was registered.")
    last_accessed_at = serializers.DateTimeField(allow_null=True)
    to = serializers.DateTimeField(help_text="The end of the last hour or day, in UTC.")
    group_by = serializers.ChoiceField(choices=[step.value for step in Step])
    totals = SumsOutput()
    series = UsagePointOutput(many=True, help_text="Every hour or day, including empty ones.")
    by_key = UsageByKeyOutput(many=True, help_text="The busiest first.")

    def get_fields(self) -> dict[str, Any]:
        return _with_from(super().get_fields())


def _with_from(fields: dict[str, Any]) -> dict[str, Any]:
    """Adds `from`, a keyword of Python, which cannot be an attribute."""
    start = serializers.DateTimeField(help_text="The start of the first hour or day, in UTC.")
    return {"from": start} | fields


class PeriodOutput(RequestSumsOutput):
    to = serializers.DateTimeField(help_text="The end of the last hour, in UTC.")

    def get_fields(self) -> dict[str, Any]:
        return _with_from(super().get_fields())


class CountsOutput(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    loaded = serializers.IntegerField()
    current = serializers.CharField(allow_null=True, help_text="The target of the route `current`.")
    deprecated = serializers.IntegerField()
    gone = serializers.IntegerField(help_text="No longer listed by their provider.")
    never_accessed = serializers.IntegerField()
    by_provider = serializers.DictField(child=serializers.IntegerField())
    by_status = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"{', '.join(ModelStatus)}: all of them."
    )
    by_capability = serializers.DictField(
        child=serializers.IntegerField(), help_text=f"{', '.join(Capability)}: all of them."
    )


class AccessesOutput(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    average = serializers.FloatField(help_text="By registered model.")


class TopPerformingOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    score = serializers.FloatField(
        help_text="0.4 * success_rate + 0.3 * min(tokens_per_second / 100, 1) + 0.3 * min(requests / 1000, 1)"
    )
    success_rate = serializers.FloatField()
    tokens_per_second = serializers.FloatField(allow_null=True)
    requests = serializers.IntegerField()


class MostUsedOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    access_count = serializers.IntegerField()
    last_accessed_at = serializers.DateTimeField(allow_null=True)


class LoadFailedOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    stage = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(allow_null=True)


class FailingOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    requests = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    error_rate = serializers.FloatField()


class AttentionOutput(serializers.Serializer[Any]):
    load_failed = LoadFailedOutput(many=True)
    loaded_and_not_asked = serializers.ListField(
        child=serializers.CharField(), help_text="Loaded, without a request in the period."
    )
    failing = FailingOutput(many=True, help_text="With errors in the period, the worst first.")


class StatisticsOutput(serializers.Serializer[Any]):
    models = CountsOutput()
    accesses = AccessesOutput()
    period = PeriodOutput()
    top_performing = TopPerformingOutput(many=True)
    most_used = MostUsedOutput(many=True)
    attention = AttentionOutput()
