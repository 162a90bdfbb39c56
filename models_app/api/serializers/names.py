"""Fields for names. Their patterns only document them; `models_app.domain.keys` checks the values."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.domain.keys import (
    KEY_PATTERN,
    MAX_KEY_LENGTH,
    MODEL_ID_PATTERN,
    ROUTE_PATTERN,
    SLUG_PATTERN,
)
from models_app.domain.residency.nodes import NODE_NAME_PATTERN


def shape(pattern: str, longest: int, **more: Any) -> dict[str, Any]:
    """The schema of a name."""
    return {"type": "string", "maxLength": longest, "pattern": f"^(?:{pattern})$"} | more


KEY = shape(KEY_PATTERN, MAX_KEY_LENGTH)
ROUTE = shape(ROUTE_PATTERN, 64)
_ALLOWED = rf"{SLUG_PATTERN}(?::(?:\*|{MODEL_ID_PATTERN}))?"


@extend_schema_field(KEY)
class ModelKeyField(serializers.CharField):
    """`<provider>:<model id>`"""


@extend_schema_field(KEY | {"nullable": True})
class OptionalModelKeyField(serializers.CharField):
    """A key, or null."""


@extend_schema_field(shape(SLUG_PATTERN, 64))
class ProviderField(serializers.CharField):
    """The slug of a provider."""


@extend_schema_field(shape(MODEL_ID_PATTERN, 190))
class ModelIdField(serializers.CharField):
    """What follows the colon of a key."""


@extend_schema_field(ROUTE)
class RouteField(serializers.CharField):
    """The name of a route."""


@extend_schema_field(shape(NODE_NAME_PATTERN, 63))
class NodeField(serializers.CharField):
    """The name of a node."""


@extend_schema_field(shape(_ALLOWED, MAX_KEY_LENGTH))
class AllowedModelField(serializers.CharField):
    """A route, a model key, or `<provider>:*`."""
