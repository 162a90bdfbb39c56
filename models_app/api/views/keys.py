"""API keys. They are for administrators; a key's text is in one answer and nowhere else."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import KeyPrincipal, actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.keys import (
    ApiKeyChanges,
    ApiKeyInput,
    ApiKeyListOutput,
    ApiKeyOutput,
    NewApiKeyOutput,
    represent_key,
)
from models_app.api.views.base import ManagementView
from models_app.domain.scopes import Scope
from models_app.models import ApiKey
from models_app.services.api_keys import keys

_ADMIN = dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.ADMIN)
_STATES = ("active", "expired", "revoked")


class ApiKeyList(ManagementView):
    scopes = _ADMIN

    @extend_schema(
        operation_id="list_api_keys",
        tags=["api keys"],
        parameters=[
            OpenApiParameter("state", str, enum=_STATES, description="In this state."),
            *NEWEST_FIRST,
        ],
        responses={200: ApiKeyListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """All API keys, the newest first. What is stored of a key cannot be used as one."""
        query.refuse_unknown(request, ("state", "limit", "before"))
        rows = keys.in_state(query.choice(request, "state", _STATES))
        answer = newest_first(request, rows, word="api_keys", represent=lambda key: key)
        used = keys.last_used(answer.data["api_keys"])
        answer.data["api_keys"] = [represent_key(key, used) for key in answer.data["api_keys"]]
        return answer

    @extend_schema(
        operation_id="create_api_key",
        tags=["api keys"],
        request=ApiKeyInput,
        responses={201: NewApiKeyOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Make a key. Its text, `key`, is in this answer only; not even the same `Idempotency-Key` brings it back."""
        body = ApiKeyInput(data=request.data)
        body.is_valid(raise_exception=True)
        key, text = keys.create(**body.validated_data, actor=actor_of(request))
        self.audit_subject = key.key_id
        location = reverse("api:api-key", kwargs={"key_id": key.key_id})
        answer = represent_key(key, {}) | {"key": text}
        headers = {"Location": location, "Cache-Control": "no-store"}
        return Response(answer, status=201, headers=headers)


class ApiKeyDetail(ManagementView):
    scopes = _ADMIN

    @extend_schema(operation_id="get_api_key", tags=["api keys"], responses={200: ApiKeyOutput} | ERRORS)
    def get(self, request: Request, key_id: str) -> Response:
        """One API key, by its id: the second part of its text."""
        return _answer(keys.get(key_id=key_id))

    @extend_schema(
        operation_id="update_api_key",
        tags=["api keys"],
        request=ApiKeyChanges,
        responses={200: ApiKeyOutput} | ERRORS,
    )
    def patch(self, request: Request, key_id: str) -> Response:
        """Change a key's name, scopes, models or expiry. What is left out stays."""
        key = keys.get(key_id=key_id)
        body = ApiKeyChanges(data=request.data)
        body.is_valid(raise_exception=True)
        changed = keys.change(
            key=key,
            changes=body.validated_data,
            actor=actor_of(request),
            keep_admin=_is_key(request),
        )
        return _answer(changed)

    @extend_schema(operation_id="revoke_api_key", tags=["api keys"], responses={204: None} | ERRORS)
    def delete(self, request: Request, key_id: str) -> Response:
        """Revoke a key: it is refused from now on, and stays in the list. Twice is once."""
        key = keys.get(key_id=key_id)
        keys.revoke(key=key, actor=actor_of(request), keep_admin=_is_key(request))
        return Response(status=204)


def _is_key(request: Request) -> bool:
    """A session can always make a new key; for a key, the last one with `admin` is the last way in."""
    return isinstance(request.user, KeyPrincipal)


def _answer(key: ApiKey) -> Response:
    return Response(represent_key(key, keys.last_used([key])))
