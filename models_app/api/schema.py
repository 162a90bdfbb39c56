"""Schema parts that drf-spectacular cannot derive: list parameters, common errors, authentication, strict bodies."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.metadata import SimpleMetadata
from rest_framework.request import Request

from models_app.api.serializers.errors import ErrorOutput


def _error(description: str) -> OpenApiResponse:
    return OpenApiResponse(ErrorOutput, description=description)


ERRORS: dict[int, Any] = {
    400: _error("The request is invalid; the message states what to change."),
    401: _error("No API key, or an unknown one."),
    403: _error("The key lacks the necessary scope."),
    404: _error("Not found."),
    409: _error("The present state does not allow it, or the job failed while the caller waited."),
}


class ManagementSchema(AutoSchema):
    """The schema of a management viewset: parameters of lists come from its filters and its pagination."""

    def _is_list_view(self, serializer: Any = None) -> bool:
        """Always False: the body of a list is an object that its serializer describes completely."""
        return False

    def get_override_parameters(self) -> list[Any]:
        view: Any = self.view
        parameters: list[OpenApiParameter] = view.list_parameters()
        return parameters


class ManagementMetadata(SimpleMetadata):
    """The response to OPTIONS: name, description and media types. The OpenAPI document has the fields of bodies."""

    def determine_actions(self, request: Request, view: Any) -> dict[str, Any]:
        return {}


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "models_app.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, `noa_…`."}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "models_app.api.authentication.SessionAuthentication"
    name = "cookieAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The console's session; changes need the header `X-CSRFToken` too.",
        }


class StrictInputSchema(OpenApiSerializerExtension):
    target_class = "models_app.api.serializers.inputs.StrictInput"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return schema | {"additionalProperties": False}


class ModelNameSchema(OpenApiSerializerExtension):
    """Two kinds of body: a model is named by its key, or by provider and id."""

    target_class = "models_app.api.serializers.inputs.ModelNameInput"
    match_subclasses = True
    priority = 1

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        description = schema.pop("description", "")
        return {
            "description": description,
            "oneOf": [
                _without(schema, ("provider", "model"), required=["key"]),
                _without(schema, ("key",), required=["provider", "model"]),
            ],
        }


def _without(schema: dict[str, Any], names: tuple[str, ...], required: list[str]) -> dict[str, Any]:
    properties = {name: it for name, it in schema["properties"].items() if name not in names}
    return {
        "type": "object",
        "properties": properties,
        "required": required + schema.get("required", []),
        "additionalProperties": False,
    }
