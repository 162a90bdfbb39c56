"""Bodies of the desired state and its snapshots."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.api.serializers import names
from models_app.api.serializers.entries import LOAD_OPTIONS
from models_app.api.serializers.inputs import StrictInput
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import InvalidRequest
from models_app.domain.keys import MAX_KEY_LENGTH, ModelKey, checked_route_name
from models_app.domain.states import ModelStatus
from models_app.models import StateSnapshot
from models_app.services.desired_state.saved_states import NAME_PATTERN, VERSION
from models_app.services.routes.routes import MAX_FALLBACKS

# More models than one server can load.
_MOST = 1000


@extend_schema_field(names.KEY)
class KeyField(serializers.CharField):
    """The key of a model, registered or not."""

    def to_internal_value(self, data: Any) -> str:
        return str(ModelKey.parse(super().to_internal_value(data)))


@extend_schema_field(names.KEY | {"nullable": True})
class TargetField(KeyField):
    """A key, or null."""


@extend_schema_field(names.ROUTE)
class RouteNameField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        return checked_route_name(super().to_internal_value(data))


@extend_schema_field(names.shape(NAME_PATTERN, 100))
class SnapshotNameField(serializers.CharField):
    """Letters, digits, `.`, `_` and `-`."""


@extend_schema_field(names.shape(NAME_PATTERN, 100, nullable=True))
class OptionalNameField(SnapshotNameField):
    """A name, or null."""


@extend_schema_field(LOAD_OPTIONS | {"nullable": False, "description": "Like those of a load."})
class OptionsField(serializers.DictField):
    def to_internal_value(self, data: Any) -> dict[str, int]:
        return LoadOptions.parse(super().to_internal_value(data)).as_dict()


class SnapshotModelInput(StrictInput):
    key = KeyField(max_length=MAX_KEY_LENGTH)
    options = OptionsField(required=False, default=dict)


class SnapshotRouteInput(StrictInput):
    name = RouteNameField(max_length=64)
    target = TargetField(max_length=MAX_KEY_LENGTH, allow_null=True)
    fallbacks = serializers.ListField(
        child=KeyField(max_length=MAX_KEY_LENGTH),
        max_length=MAX_FALLBACKS,
        required=False,
        default=list,
        help_text="Keys of models that answer when the target cannot.",
    )
    load_on_demand = serializers.BooleanField(required=False, default=True)
    may_evict = serializers.BooleanField(required=False, default=True)
    description = serializers.CharField(required=False, default="", allow_blank=True, max_length=255)


class SnapshotContentInput(StrictInput):
    version = serializers.ChoiceField(choices=[VERSION])
    models = serializers.ListField(child=SnapshotModelInput(), max_length=_MOST)
    routes = serializers.ListField(child=SnapshotRouteInput(), max_length=_MOST)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for field, name in (("models", "key"), ("routes", "name")):
            found = [item[name] for item in attrs[field]]
            twice = next((item for item in found if found.count(item) > 1), None)
            if twice is not None:
                raise InvalidRequest(f"'{twice}' is repeated.", code="named_twice", param=f"content.{field}")
        return attrs


class SaveStateInput(StrictInput):
    name = OptionalNameField(required=False, allow_null=True, max_length=100)


class SnapshotInput(StrictInput):
    name = SnapshotNameField(max_length=100)
    content = SnapshotContentInput()


class RestoreInput(StrictInput):
    unload_others = serializers.BooleanField(
        required=False, default=False, help_text="Unload models that are not in the snapshot."
    )


class SnapshotModelOutput(serializers.Serializer[Any]):
    key = serializers.CharField()
    options = serializers.DictField(help_text="Like those of a load.")


class SnapshotRouteOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    target = serializers.CharField(allow_null=True)
    fallbacks = serializers.ListField(child=serializers.CharField())
    load_on_demand = serializers.BooleanField()
    may_evict = serializers.BooleanField()
    description = serializers.CharField(allow_blank=True)


class SnapshotContentOutput(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    models = SnapshotModelOutput(many=True)
    routes = SnapshotRouteOutput(many=True)


class SnapshotSummaryOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    models = serializers.IntegerField(help_text="The number of models.")
    routes = serializers.IntegerField(help_text="The number of routes.")
    actor = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class SnapshotOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    content = SnapshotContentOutput()
    actor = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class SnapshotListOutput(serializers.Serializer[Any]):
    snapshots = SnapshotSummaryOutput(many=True)
    next = serializers.URLField(allow_null=True)


class WantedModelOutput(SnapshotModelOutput):
    status = serializers.ChoiceField(choices=[status.value for status in ModelStatus])


class StateOutput(serializers.Serializer[Any]):
    node = serializers.CharField()
    models = WantedModelOutput(many=True)
    routes = SnapshotRouteOutput(many=True)


def represent_snapshot(snapshot: StateSnapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "content": snapshot.content,
        "actor": snapshot.actor,
        "created_at": snapshot.created_at,
    }


def represent_summary(snapshot: StateSnapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "models": len(snapshot.content["models"]),
        "routes": len(snapshot.content["routes"]),
        "actor": snapshot.actor,
        "created_at": snapshot.created_at,
    }
