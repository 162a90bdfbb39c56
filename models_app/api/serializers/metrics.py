"""Bodies of live metrics; `services.rollups.live_metrics` computes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.usage import PercentilesOutput
from models_app.domain.windows import WINDOWS, RollupStep
from models_app.services.rollups.live_metrics import Live, Metrics, Series

_WINDOWS = list(WINDOWS)


class MetricsOutput(serializers.Serializer[Any]):
    requests = serializers.IntegerField(help_text="Through the gateway.")
    requests_per_second = serializers.FloatField()
    errors = serializers.IntegerField(  # type: ignore[assignment]
        help_text="Answered with an error, or broken; not those whose client disconnected."
    )
    error_rate = serializers.FloatField(allow_null=True, help_text="errors / requests.")
    aborted = serializers.IntegerField(help_text="Ended by either side before the answer was complete.")
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Part of the prompt tokens.")
    completion_tokens = serializers.IntegerField()
    tokens_per_second = serializers.FloatField(
        allow_null=True, help_text="Of one streamed answer, after its first token."
    )
    completion_tokens_per_second = serializers.FloatField(help_text="Of all answers together.")
    latency_ms = PercentilesOutput()
    average_latency_ms = serializers.FloatField(allow_null=True)
    ttft_ms = PercentilesOutput(help_text="Time to the first token of streamed answers.")
    cost_usd = serializers.FloatField(help_text="Of the requests with a known price.")
    unpriced = serializers.IntegerField(help_text="Requests with tokens without a known price.")


class NamedMetricsOutput(MetricsOutput):
    name = serializers.CharField(help_text="The model's key, or the route.")


class LiveMetricsOutput(serializers.Serializer[Any]):
    window = serializers.ChoiceField(choices=_WINDOWS)
    start = serializers.DateTimeField(help_text="A whole step: a window can be one step longer than its name.")
    end = serializers.DateTimeField()
    total = MetricsOutput()
    models = NamedMetricsOutput(many=True, help_text="The busiest first.")
    routes = NamedMetricsOutput(many=True, help_text="The busiest first.")


class PointOutput(MetricsOutput):
    start = serializers.DateTimeField()
    seconds = serializers.FloatField(help_text="The length; for the last point, the time that has passed.")


class MetricsSeriesOutput(serializers.Serializer[Any]):
    window = serializers.ChoiceField(choices=_WINDOWS)
    step = serializers.ChoiceField(choices=[step.value for step in RollupStep if step != RollupStep.EVER])
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    points = PointOutput(many=True, help_text="Every step, including steps without requests.")


_PLAIN = (
    "requests",
    "requests_per_second",
    "errors",
    "error_rate",
    "aborted",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "tokens_per_second",
    "completion_tokens_per_second",
    "average_latency_ms",
    "unpriced",
)
_PERCENTILES = ("p50", "p95", "p99")


def represent_metrics(metrics: Metrics) -> dict[str, Any]:
    return {name: getattr(metrics, name) for name in _PLAIN} | {
        "latency_ms": {name: getattr(metrics.latency_ms, name) for name in _PERCENTILES},
        "ttft_ms": {name: getattr(metrics.ttft_ms, name) for name in _PERCENTILES},
        "cost_usd": float(metrics.cost_usd),
    }


def represent_live(found: Live) -> dict[str, Any]:
    def shares(name: str) -> list[dict[str, Any]]:
        return [{"name": item.name} | represent_metrics(item.metrics) for item in getattr(found, name)]

    return {
        "window": found.window,
        "start": found.start,
        "end": found.end,
        "total": represent_metrics(found.total),
        "models": shares("models"),
        "routes": shares("routes"),
    }


def represent_series(found: Series) -> dict[str, Any]:
    return {
        "window": found.window,
        "step": found.step,
        "start": found.start,
        "end": found.end,
        "points": [
            {"start": point.start, "seconds": point.seconds} | represent_metrics(point.metrics)
            for point in found.points
        ],
    }
