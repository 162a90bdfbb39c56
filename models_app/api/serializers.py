"""What the API takes and what it answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import ModelKey
from models_app.domain.routing import CURRENT_ROUTE
from models_app.models import Instance, Job, ModelVersion, RegisteredModel


class VersionOutput(serializers.ModelSerializer[ModelVersion]):
    class Meta:
        model = ModelVersion
        fields = ["sha256", "path", "size_bytes", "quantization", "architecture", "created_at"]
        read_only_fields = fields


class ModelOutput(serializers.ModelSerializer[RegisteredModel]):
    provider = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    capabilities = serializers.ListField(child=serializers.CharField(), read_only=True)
    version = VersionOutput(read_only=True)
    failure = serializers.SerializerMethodField()

    class Meta:
        model = RegisteredModel
        fields = [
            "key", "provider", "model_id", "name", "description", "status", "failure", "deprecated",
            "wanted", "capabilities", "context_window", "max_output_tokens", "load_options", "tags",
            "metadata", "version", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(
        {
            "type": "object",
            "nullable": True,
            "description": "Why the status is `failed`.",
            "properties": {
                "stage": {"type": "string"},
                "reason": {"type": "string"},
                "at": {"type": "string", "format": "date-time", "nullable": True},
            },
        }
    )
    def get_failure(self, model: RegisteredModel) -> dict[str, Any] | None:
        if not model.failure_reason:
            return None
        return {"stage": model.failure_stage, "reason": model.failure_reason, "at": model.failed_at}


class InstanceOutput(serializers.ModelSerializer[Instance]):
    key = serializers.CharField(source="model.key", read_only=True)
    in_flight = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="Requests in flight, asked of the runner now."
    )
    fingerprint = serializers.CharField(read_only=True)

    class Meta:
        model = Instance
        fields = [
            "id", "key", "node", "state", "pid", "pid_started_at", "context_tokens", "slots",
            "memory_bytes", "memory_estimate_bytes", "in_flight", "load_seconds", "fingerprint",
            "options", "created_at", "ready_at",
        ]  # fmt: skip
        read_only_fields = fields


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


class ModelListOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    models = ModelOutput(many=True)


class LoadedOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    current_model = serializers.CharField(allow_null=True)
    instances = InstanceOutput(many=True)


class CurrentOutput(serializers.Serializer[Any]):
    route = serializers.CharField()
    model = ModelOutput(allow_null=True)


class ModelNameInput(serializers.Serializer[Any]):
    """Either `key`, or `provider` and `model`."""

    key = serializers.CharField(required=False, max_length=255, help_text="`<provider>:<model id>`")
    provider = serializers.CharField(required=False, max_length=64)
    model = serializers.CharField(required=False, max_length=190)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named, paired = "key" in attrs, "provider" in attrs and "model" in attrs
        if named == paired or (named and ("provider" in attrs or "model" in attrs)):
            raise InvalidRequest(
                "Name the model by 'key', or by 'provider' and 'model'.", param="key"
            )
        if paired:
            attrs["key"] = f"{attrs.pop('provider')}:{attrs.pop('model')}"
        attrs["key"] = str(ModelKey.parse(attrs["key"]))
        return attrs

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise InvalidRequest(
                f"Unknown field '{unknown[0][:80]}'. Known fields: {', '.join(self.fields)}.",
                code="unknown_field",
                param=unknown[0][:80],
            )
        return super().to_internal_value(data)


class LoadInput(ModelNameInput):
    options = serializers.DictField(
        required=False,
        default=dict,
        help_text="n_ctx, slots, n_batch, n_threads, n_gpu_layers; what is left out, NOA chooses.",
    )


class UnloadInput(ModelNameInput):
    pass


class SwitchInput(ModelNameInput):
    route = serializers.CharField(required=False, default=CURRENT_ROUTE, max_length=64)
    keep_previous = serializers.BooleanField(
        required=False, default=False, help_text="Leave the model that the route led to loaded."
    )


class ErrorOutput(serializers.Serializer[Any]):
    """Every error of NOA has this shape."""

    error = serializers.DictField(
        help_text="message, type, code, param, retryable, request_id, and details where there are any"
    )
