"""Registered models."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.models import ModelVersion, RegisteredModel


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


class ModelListOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    models = ModelOutput(many=True)


class CurrentOutput(serializers.Serializer[Any]):
    route = serializers.CharField()
    model = ModelOutput(allow_null=True)
