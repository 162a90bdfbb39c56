"""What bodies have in common."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import ModelKey


class StrictInput(serializers.Serializer[Any]):
    """Refuses fields that it does not know: a mistyped option must not be passed over in silence."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise InvalidRequest(
                f"Unknown field '{unknown[0][:80]}'. Known fields: {', '.join(self.fields)}.",
                code="unknown_field",
                param=unknown[0][:80],
            )
        return super().to_internal_value(data)


class ModelNameInput(StrictInput):
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
