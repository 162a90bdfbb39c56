"""Names in bodies. Their patterns are for whoever reads the document; `models_app.domain.keys` is what checks."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from models_app.domain.keys import (
    KEY_PATTERN,
    MAX_KEY_LENGTH,
    MODEL_ID_PATTERN,
    ROUTE_PATTERN,
    SLUG_PATTERN,
)

_KEY = {"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": f"^(?:{KEY_PATTERN})$"}
_ROUTE = {"type": "string", "maxLength": 64, "pattern": f"^(?:{ROUTE_PATTERN})$"}
_ALLOWED = rf"^(?:{SLUG_PATTERN}(?::(?:\*|{MODEL_ID_PATTERN}))?)$"


@extend_schema_field(_KEY)
class ModelKeyField(serializers.CharField):
    """`<provider>:<model id>`"""


@extend_schema_field(_KEY | {"nullable": True})
class OptionalModelKeyField(serializers.CharField):
    """A key, or null."""


@extend_schema_field({"type": "string", "maxLength": 64, "pattern": f"^(?:{SLUG_PATTERN})$"})
class ProviderField(serializers.CharField):
    """The slug of a provider."""


@extend_schema_field({"type": "string", "maxLength": 190, "pattern": f"^(?:{MODEL_ID_PATTERN})$"})
class ModelIdField(serializers.CharField):
    """What follows the colon of a key."""


@extend_schema_field(_ROUTE)
class RouteField(serializers.CharField):
    """The name of a route."""


@extend_schema_field({"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": _ALLOWED})
class AllowedModelField(serializers.CharField):
    """A route, a model key, or `<provider>:*`."""
