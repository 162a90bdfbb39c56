"""Jobs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.models import Job


class JobStepOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=["running", "done", "failed"])
    started_at = serializers.DateTimeField()
    seconds = serializers.FloatField(allow_null=True)
    detail = serializers.CharField(allow_blank=True)


class JobErrorOutput(serializers.Serializer[Any]):
    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class JobOutput(serializers.ModelSerializer[Job]):
    steps = JobStepOutput(many=True, read_only=True)
    error = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id", "kind", "subject", "arguments", "state", "progress", "steps", "result", "error",
            "actor", "node", "created_at", "started_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(JobErrorOutput(allow_null=True))
    def get_error(self, job: Job) -> dict[str, Any] | None:
        return JobErrorOutput(job).data if job.error_code else None
