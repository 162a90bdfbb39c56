"""Routes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from models_app.api.serializers.inputs import StrictInput
from models_app.api.serializers.keys import LOAD_ON_DEMAND, MAY_EVICT
from models_app.api.serializers.names import ModelKeyField, OptionalModelKeyField, RouteField
from models_app.models import Route
from models_app.services.routes import routes

_FALLBACKS = "Keys of the models that get a request, in this order, when the target cannot answer."


class RouteChanges(StrictInput):
    fallbacks = serializers.ListField(
        required=False,
        child=ModelKeyField(max_length=255),
        max_length=routes.MAX_FALLBACKS,
        help_text=_FALLBACKS,
    )
    load_on_demand = serializers.BooleanField(required=False, help_text=LOAD_ON_DEMAND)
    may_evict = serializers.BooleanField(required=False, help_text=MAY_EVICT)
    description = serializers.CharField(required=False, max_length=255, allow_blank=True)


class RouteInput(RouteChanges):
    name = RouteField(
        max_length=64,
        help_text="Lower-case letters, digits, '.', '_' and '-'. It takes precedence over an equal model id.",
    )
    target = OptionalModelKeyField(
        required=False,
        allow_null=True,
        max_length=255,
        help_text="The key of a loaded model; null: no target until the first switch.",
    )


class RouteOutput(serializers.Serializer[Any]):
    name = serializers.CharField()
    target = serializers.CharField(allow_null=True)
    target_status = serializers.CharField(allow_null=True)
    fallbacks = serializers.ListField(child=serializers.CharField(), help_text=_FALLBACKS)
    load_on_demand = serializers.BooleanField(help_text=LOAD_ON_DEMAND)
    may_evict = serializers.BooleanField(help_text=MAY_EVICT)
    description = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class RouteListOutput(serializers.Serializer[Any]):
    routes = RouteOutput(many=True)


class RouteChangeOutput(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    previous = serializers.CharField(allow_null=True)
    key = serializers.CharField(allow_null=True)
    actor = serializers.CharField(allow_blank=True)
    job_id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()


class RouteChangeListOutput(serializers.Serializer[Any]):
    changes = RouteChangeOutput(many=True)
    next = serializers.URLField(allow_null=True)


def represent_route(route: Route) -> dict[str, Any]:
    return routes.represent(route) | {
        "target_status": route.target.status if route.target else None,
        "created_at": route.created_at,
        "updated_at": route.updated_at,
    }
