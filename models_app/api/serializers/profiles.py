"""Bodies of profiles, their samples and comparisons."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.domain.measuring.comparison import Verdict
from models_app.domain.states import ProfileState
from models_app.models import ProfileRun, ProfileSample


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 64},
        "minItems": 1,
        "maxItems": 8,
        "uniqueItems": True,
    }
)
class _Stages(serializers.ListField):
    """A list whose items differ; DRF has no word for that."""


class ProfileInput(StrictInput):
    requests = serializers.IntegerField(min_value=1, max_value=1000, default=10, help_text="Of each stage.")
    concurrency = _Stages(
        child=serializers.IntegerField(min_value=1, max_value=64),
        min_length=1,
        max_length=8,
        default=[1],
        help_text="The number of concurrent requests of each stage.",
    )
    max_tokens = serializers.IntegerField(min_value=1, max_value=4096, default=64)
    warmup = serializers.IntegerField(
        min_value=0,
        max_value=100,
        default=2,
        help_text="Requests before the first stage that are not measured.",
    )
    prompt_tokens = serializers.IntegerField(
        min_value=1,
        max_value=131_072,
        allow_null=True,
        default=None,
        help_text="Length of generated prompts of filler; samples have their exact length. Not with `prompts`.",
    )
    prompts = serializers.ListField(
        child=serializers.CharField(min_length=1, max_length=20_000, trim_whitespace=False),
        max_length=100,
        default=list,
        help_text="Used in turn, each with a number in front; if omitted, NOA's own.",
    )
    ignore_eos = serializers.BooleanField(
        allow_null=True,
        default=None,
        help_text="Whether every answer has `max_tokens` tokens. If omitted: for local models only.",
    )

    def validate_concurrency(self, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise serializers.ValidationError("Name each concurrency once.")
        return value


class BaselineInput(StrictInput):
    baseline = serializers.BooleanField(
        required=False, help_text="Later profiles with the same settings are compared with this one."
    )


class IntervalsOutput(serializers.Serializer[Any]):
    """Both bounds of each 95 % interval; a bound is null when there are too few samples for it."""

    mean = serializers.ListField(child=serializers.FloatField(allow_null=True))
    p50 = serializers.ListField(child=serializers.FloatField(allow_null=True))
    p95 = serializers.ListField(child=serializers.FloatField(allow_null=True))
    p99 = serializers.ListField(child=serializers.FloatField(allow_null=True))


class FigureOutput(serializers.Serializer[Any]):
    """A figure of the successful requests; null without any."""

    n = serializers.IntegerField(help_text="Number of values.")
    mean = serializers.FloatField(allow_null=True)
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)
    ci = IntervalsOutput()


class PeakMemoryOutput(serializers.Serializer[Any]):
    rss_bytes = serializers.IntegerField(allow_null=True)
    pss_bytes = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField(allow_blank=True, help_text="Why it could not be read.")


class EnergyOutput(serializers.Serializer[Any]):
    joules = serializers.FloatField(allow_null=True)
    joules_per_token = serializers.FloatField(allow_null=True)
    source = serializers.CharField(  # type: ignore[assignment]
        allow_blank=True, help_text="`rapl`, `nvml` or both."
    )
    reason = serializers.CharField(allow_blank=True, help_text="Why it could not be read.")


class StageOutput(serializers.Serializer[Any]):
    concurrency = serializers.IntegerField()
    requests = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(help_text="From the first request to the end of the last.")
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Prompt tokens that were not computed.")
    completion_tokens = serializers.IntegerField()
    request_throughput = serializers.FloatField(allow_null=True, help_text="Requests per second.")
    output_throughput = serializers.FloatField(
        allow_null=True, help_text="Completion tokens per second of all requests together."
    )
    total_token_throughput = serializers.FloatField(
        allow_null=True, help_text="Like `output_throughput`, with the prompt tokens."
    )
    ttft_ms = FigureOutput(help_text="Time to the first token.")
    tpot_ms = FigureOutput(help_text="Time per output token after the first.")
    bunched = serializers.IntegerField(
        required=False, help_text="Answers whose tokens came together: they have no speed and nothing between tokens."
    )
    itl_ms = FigureOutput(help_text="Between the pieces of an answer.")
    e2el_ms = FigureOutput(help_text="From the request to the end of its answer.")
    prompt_tokens_per_second = FigureOutput(help_text="Of one request: `pp` of llama-bench.")
    generation_tokens_per_second = FigureOutput(help_text="Of one request: `tg` of llama-bench.")
    peak_memory = PeakMemoryOutput(help_text="Of the model's process while the stage ran.")
    energy = EnergyOutput(help_text="Of whole processors and GPUs while the stage ran.")


class ProfileSummaryOutput(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True)
    load_seconds = serializers.FloatField(allow_null=True, help_text="The duration of the model's load.")
    stages = StageOutput(many=True)


class ContrastOutput(serializers.Serializer[Any]):
    concurrency = serializers.IntegerField()
    figure = serializers.CharField()
    baseline = serializers.FloatField(allow_null=True, help_text="Geometric mean, or the rate.")
    candidate = serializers.FloatField(allow_null=True)
    ratio = serializers.FloatField(allow_null=True, help_text="Candidate divided by baseline.")
    low = serializers.FloatField(allow_null=True, help_text="The lower bound of the ratio's 95 % interval.")
    high = serializers.FloatField(allow_null=True)
    p = serializers.FloatField(allow_null=True)
    p_adjusted = serializers.FloatField(allow_null=True, help_text="Corrected for all figures of the comparison.")
    verdict = serializers.ChoiceField(choices=[str(one) for one in Verdict])


class ChangeOutput(serializers.Serializer[Any]):
    what = serializers.CharField()
    before = serializers.JSONField(allow_null=True, help_text="In the baseline.")
    after = serializers.JSONField(allow_null=True)


class ComparisonOutput(serializers.Serializer[Any]):
    baseline = serializers.UUIDField()
    run = serializers.UUIDField()
    verdict = serializers.ChoiceField(choices=[str(one) for one in Verdict])
    changed = ChangeOutput(many=True, help_text="Changes that can explain a difference.")
    caution = serializers.ListField(child=serializers.CharField(), help_text="Why the two are possibly not comparable.")
    contrasts = ContrastOutput(many=True)


class ProfileOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="SHA-256 of the model's file.")
    job_id = serializers.UUIDField(allow_null=True)
    state = serializers.ChoiceField(choices=[str(one) for one in ProfileState])
    complete = serializers.BooleanField(help_text="False while it runs, and if it was cancelled or interrupted.")
    incomplete_reason = serializers.CharField(allow_blank=True)
    baseline = serializers.BooleanField()
    settings_class = serializers.CharField(help_text="Equal for profiles that measured the same work.")
    settings = serializers.DictField(help_text="As requested.")
    environment = serializers.DictField(help_text="Conditions on which the figures depend.")
    summary = ProfileSummaryOutput(allow_null=True)
    comparison = ComparisonOutput(allow_null=True, help_text="With the baseline at that time.")
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class ProfileListOutput(serializers.Serializer[Any]):
    profiles = ProfileOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The page before this one in time.")


class CompareOutput(serializers.Serializer[Any]):
    runs = ProfileOutput(many=True, help_text="The first is the baseline of the others.")
    tolerance = serializers.FloatField()
    comparisons = ComparisonOutput(many=True)


class ProfileSampleOutput(serializers.Serializer[Any]):
    stage = serializers.IntegerField()
    concurrency = serializers.IntegerField()
    number = serializers.IntegerField()
    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)
    prompt_tokens = serializers.IntegerField(allow_null=True)
    cached_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    started_ms = serializers.FloatField(help_text="Since its stage began.")
    ttft_ms = serializers.FloatField(allow_null=True)
    e2el_ms = serializers.FloatField()
    gaps_ms = serializers.ListField(child=serializers.FloatField(), help_text="Between the pieces of the answer.")


class ProfileDetailOutput(ProfileOutput):
    samples = ProfileSampleOutput(many=True, help_text="In the order of stages and numbers.")


_PLAIN = (
    "job_id",
    "state",
    "complete",
    "incomplete_reason",
    "baseline",
    "settings_class",
    "settings",
    "environment",
    "summary",
    "comparison",
    "started_at",
    "finished_at",
)


_OF_SAMPLES = [str(name) for name in ProfileSampleOutput().fields]


def represent_profile(row: ProfileRun) -> dict[str, Any]:
    return {
        "id": row.pk,
        "key": row.model.key,
        "version": row.version.sha256 if row.version else None,
    } | {name: getattr(row, name) for name in _PLAIN}


def represent_profile_with_samples(row: ProfileRun) -> dict[str, Any]:
    samples = [_sample(sample) for sample in row.samples.all()]
    return represent_profile(row) | {"samples": samples}


def _sample(sample: ProfileSample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in _OF_SAMPLES}
