"""What drf-spectacular cannot see by itself: common errors, and the gateway, which is no Django view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse

from models_app.api.serializers.errors import ErrorOutput


def _error(description: str) -> OpenApiResponse:
    return OpenApiResponse(ErrorOutput, description=description)


ERRORS: dict[int, Any] = {
    400: _error("The request is wrong; the message says what to change."),
    401: _error("No API key, or one that is not known."),
    403: _error("The key lacks the scope that this needs."),
    404: _error("There is no such thing."),
    409: _error("The state of things forbids it now, or the work failed while the caller waited."),
}


class ApiKeyScheme(OpenApiAuthenticationExtension):
    target_class = "models_app.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, `noa_…`."}


_EXAMPLES = Path(__file__).parent / "examples"


def add_examples(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """drf-spectacular's post-processing hook: `examples/<operation id>.json` holds `request` and `response`."""
    for methods in result["paths"].values():
        for operation in methods.values():
            path = _EXAMPLES / f"{operation['operationId']}.json"
            if path.exists():
                _add_example(operation, orjson.loads(path.read_bytes()))
    return result


def _add_example(operation: dict[str, Any], example: dict[str, Any]) -> None:
    if "request" in example:
        for content in operation["requestBody"]["content"].values():
            content["example"] = example["request"]
    for status, response in operation["responses"].items():
        if status.startswith("2") and "response" in example:
            for media_type, content in response.get("content", {}).items():
                if media_type == "application/json":
                    content["example"] = example["response"]


_GATEWAY = {
    "/v1/chat/completions": (
        "create_chat_completion",
        "OpenAI's chat completions; `stream` for server-sent events.",
    ),
    "/v1/completions": ("create_completion", "OpenAI's completions."),
    "/v1/embeddings": ("create_embedding", "OpenAI's embeddings."),
}


def add_gateway(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """drf-spectacular's post-processing hook: the `/v1` operations, whose bodies are OpenAI's."""
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    for path, (operation_id, description) in _GATEWAY.items():
        result["paths"][path] = {
            "post": {
                "operationId": operation_id,
                "tags": ["gateway"],
                "description": f"{description} `model` is a route (`current`), a key or a model id.",
                "security": [{"apiKey": []}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["model"],
                                "properties": {
                                    "model": {"type": "string"},
                                    "stream": {"type": "boolean"},
                                },
                                "additionalProperties": True,
                            }
                        }
                    },
                },
                "responses": {
                    "200": {"description": "As OpenAI answers."},
                    **{
                        status: {"description": text, **error}
                        for status, text in _GATEWAY_ERRORS.items()
                    },
                },
            }
        }
    result["paths"]["/v1/models"] = {
        "get": {
            "operationId": "list_gateway_models",
            "tags": ["gateway"],
            "description": "Routes and models that applications may ask for, in OpenAI's list shape.",
            "security": [{"apiKey": []}],
            "responses": {"200": {"description": "As OpenAI answers."}},
        }
    }
    return result


_GATEWAY_ERRORS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No API key, or one that is not known.",
    "404": "No route and no model has this name.",
    "413": "The body is too large.",
    "502": "The model's runner failed.",
    "503": "The model is not loaded; `Retry-After` says when to ask again.",
}
