"""Base classes of request bodies."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.names import ModelIdField, ModelKeyField, ProviderField
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import ModelKey

# The JSON types of a field. DRF itself accepts 0 for "0", "yes" for true and "7" for 7.
_JSON_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...], str], ...] = (
    (serializers.CharField, (str,), "a string"),
    (serializers.BooleanField, (bool,), "true or false"),
    (serializers.IntegerField, (int,), "a whole number"),
    (serializers.FloatField, (int, float), "a number"),
)


class StrictInput(serializers.Serializer[Any]):
    """Refuses unknown fields, and values whose JSON type is not the field's: a mistyped option must not be ignored.

    Raises InvalidRequest.
    """

    def to_internal_value(self, data: Any) -> Any:
        # The base class refuses anything but an object.
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise InvalidRequest(
                f"Unknown field '{unknown[0][:80]}'. Known fields: {', '.join(self.fields)}.",
                code="unknown_field",
                param=unknown[0][:80],
            )
        if isinstance(data, dict):
            for name, value in data.items():
                _check_type(name, self.fields[name], value)
        return super().to_internal_value(data)


def _check_type(name: str, field: Any, value: Any) -> None:
    """Raises InvalidRequest for a value of another type. The field itself checks null and objects."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        for index, item in enumerate(value):
            _check_type(f"{name}[{index}]", field.child, item)
    longest = getattr(field, "max_length", None)
    # The length before the field strips white space.
    if longest is not None and isinstance(value, str) and len(value) > longest:
        raise InvalidRequest(f"'{name}' must have at most {longest:,} characters.", param=name)
    for kind, types, words in _JSON_TYPES:
        if isinstance(field, kind) and value is not None:
            is_right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
            if not is_right:
                raise InvalidRequest(f"'{name}' must be {words}.", param=name)


class ModelNameInput(StrictInput):
    """A model by `key`, or by `provider` and `model`."""

    key = ModelKeyField(required=False, max_length=255, help_text="`<provider>:<model id>`")
    provider = ProviderField(required=False, max_length=64)
    model = ModelIdField(required=False, max_length=190)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named, paired = "key" in attrs, "provider" in attrs and "model" in attrs
        if named == paired or (named and ("provider" in attrs or "model" in attrs)):
            raise InvalidRequest("Name the model by 'key', or by 'provider' and 'model'.", param="key")
        if paired:
            attrs["key"] = f"{attrs.pop('provider')}:{attrs.pop('model')}"
        attrs["key"] = str(ModelKey.parse(attrs["key"]))
        return attrs


class NoInput(StrictInput):
    """The body of an operation without fields: empty, or an empty object."""
