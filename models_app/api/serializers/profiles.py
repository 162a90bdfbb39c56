"""Profiles of models."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.models import ProfileRun, ProfileSample


class ProfileInput(StrictInput):
    requests = serializers.IntegerField(min_value=1, max_value=1000, default=10)
    concurrency = serializers.IntegerField(
        min_value=1, max_value=64, default=1, help_text="Requests that are under way at once."
    )
    max_tokens = serializers.IntegerField(min_value=1, max_value=4096, default=64)
    prompt_tokens = serializers.IntegerField(
        min_value=1,
        max_value=131_072,
        allow_null=True,
        default=None,
        help_text="About how long prompts are made; the samples hold their true length.",
    )
    prompts = serializers.ListField(
        child=serializers.CharField(min_length=1, max_length=20_000, trim_whitespace=False),
        max_length=100,
        default=list,
        help_text="Asked in turn, each with its number in front; NOA's own when left out.",
    )


class ProfileSummaryFigure(serializers.Serializer[Any]):
    """Over the requests that succeeded; null when none did."""

    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)
    mean = serializers.FloatField(allow_null=True)


class ProfileSummaryOutput(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(help_text="From the first request to the end of the last.")
    requests_per_second = serializers.FloatField(allow_null=True)
    total_tokens_per_second = serializers.FloatField(
        allow_null=True, help_text="Completion tokens of all requests together."
    )
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    ttft_ms = ProfileSummaryFigure(help_text="Time to the first token.")
    inter_token_ms = ProfileSummaryFigure(help_text="Between the pieces of an answer.")
    duration_ms = ProfileSummaryFigure(help_text="From the request to the end of its answer.")
    tokens_per_second = ProfileSummaryFigure(help_text="Of one answer, after its first token.")


class ProfileOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    key = serializers.CharField()
    version = serializers.CharField(allow_null=True, help_text="SHA-256 of the model's file.")
    job_id = serializers.UUIDField(allow_null=True)
    complete = serializers.BooleanField(
        help_text="False while it runs, and for ever when it was cancelled or cut."
    )
    settings = serializers.DictField(help_text="As asked for.")
    environment = serializers.DictField(help_text="What the figures depend on.")
    summary = ProfileSummaryOutput(allow_null=True)
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class ProfileListOutput(serializers.Serializer[Any]):
    profiles = ProfileOutput(many=True)
    next = serializers.URLField(allow_null=True, help_text="The page before this one in time.")


class ProfileSampleOutput(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    ok = serializers.BooleanField()
    error = serializers.CharField(allow_blank=True)
    prompt_tokens = serializers.IntegerField(allow_null=True)
    completion_tokens = serializers.IntegerField(allow_null=True)
    ttft_ms = serializers.FloatField(allow_null=True)
    duration_ms = serializers.FloatField()


class ProfileDetailOutput(ProfileOutput):
    samples = ProfileSampleOutput(many=True, help_text="In the order of their numbers.")


def represent_profile(row: ProfileRun) -> dict[str, Any]:
    return {
        "id": row.pk,
        "key": row.model.key,
        "version": row.version.sha256 if row.version else None,
        "job_id": row.job_id,
        "complete": row.complete,
        "settings": row.settings,
        "environment": row.environment,
        "summary": row.summary,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def represent_profile_with_samples(row: ProfileRun) -> dict[str, Any]:
    samples = [_sample(sample) for sample in row.samples.all()]
    return represent_profile(row) | {"samples": samples}


def _sample(sample: ProfileSample) -> dict[str, Any]:
    return {
        "number": sample.number,
        "ok": sample.ok,
        "error": sample.error,
        "prompt_tokens": sample.prompt_tokens,
        "completion_tokens": sample.completion_tokens,
        "ttft_ms": sample.ttft_ms,
        "duration_ms": sample.duration_ms,
    }
