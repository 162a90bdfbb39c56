"""Jobs."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.states import JobKind, JobState
from models_app.models import Job


class JobStepOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["running", "done", "failed"])
    started_at = serializers.DateTimeField()
    seconds = serializers.FloatField(allow_null=True)
    detail = serializers.CharField(allow_blank=True)


class JobErrorOutput(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class JobOutput(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=list(JobKind))
    subject = serializers.CharField(allow_blank=True, help_text="Its subject: a model key, a route, a provider.")
    arguments = serializers.DictField()
    state = serializers.ChoiceField(choices=list(JobState))
    progress = serializers.FloatField(min_value=0, max_value=1)
    steps = JobStepOutput(many=True)
    result = serializers.DictField(allow_null=True)
    error = JobErrorOutput(allow_null=True)
    actor = serializers.CharField(allow_blank=True)
    node = serializers.CharField(allow_blank=True)
    cancellable = serializers.BooleanField(help_text="Whether it can be cancelled now.")
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    cancelled_by = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class JobListOutput(serializers.Serializer[Any]):
    jobs = JobOutput(many=True)
    next = serializers.URLField(allow_null=True)


def represent_job(job: Job) -> dict[str, Any]:
    error = {"code": job.error_code, "message": job.error_message} if job.error_code else None
    return {
        "id": job.pk,
        "kind": job.kind,
        "subject": job.subject,
        "arguments": job.arguments,
        "state": job.state,
        "progress": job.progress,
        "steps": job.steps,
        "result": job.result,
        "error": error,
        "actor": job.actor,
        "node": job.node,
        "cancellable": job.cancellable and job.finished_at is None,
        "cancel_requested_at": job.cancel_requested_at,
        "cancelled_by": job.cancelled_by,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
