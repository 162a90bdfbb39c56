"""API keys, for administrators. Only the response that creates a key contains its text."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.authentication import KeyPrincipal, actor_of, bounds_of
from models_app.api.filtersets import ApiKeyFilters
from models_app.api.pagination import NewestFirst
from models_app.api.schema import ERRORS
from models_app.api.serializers.keys import (
    ApiKeyChanges,
    ApiKeyInput,
    ApiKeyListOutput,
    ApiKeyOutput,
    NewApiKeyOutput,
    represent_key,
)
from models_app.api.views.base import ManagementViewSet
from models_app.domain.traffic.granting import UNBOUNDED
from models_app.models import ApiKey
from models_app.services.api_keys import keys


class ApiKeyPages(NewestFirst):
    word = "api_keys"


class ApiKeyViewSet(ManagementViewSet):
    filterset_class = ApiKeyFilters
    pagination_class = ApiKeyPages
    lookup_url_kwarg = "key_id"

    @extend_schema(
        operation_id="list_api_keys",
        summary="List API keys",
        tags=["api keys"],
        responses={200: ApiKeyListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All API keys, newest first, without their texts: only hashes are stored."""
        page = self.paginate_queryset(self.filter_queryset(ApiKey.objects.all())) or []
        used = keys.last_used(page)
        return self.get_paginated_response([represent_key(key, used) for key in page])

    @extend_schema(
        operation_id="create_api_key",
        summary="Create an API key",
        tags=["api keys"],
        request=ApiKeyInput,
        responses={201: NewApiKeyOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Create a key, within the caller's own rights.

        Only this answer contains its text, `key`; a repeated `Idempotency-Key` does not return it.
        """
        wanted = self.validated(ApiKeyInput)
        key, text = keys.create(**wanted, actor=actor_of(request), giver=bounds_of(request.user))
        self.audit_subject = key.key_id
        location = reverse("api:api-key", kwargs={"key_id": key.key_id})
        answer = represent_key(key, {}) | {"key": text}
        headers = {"Location": location, "Cache-Control": "no-store"}
        return Response(answer, status=201, headers=headers)

    @extend_schema(
        operation_id="get_api_key",
        summary="Get an API key",
        tags=["api keys"],
        responses={200: ApiKeyOutput} | ERRORS,
    )
    def retrieve(self, request: Request, key_id: str) -> Response:
        """One API key, by its id, which is the second part of its text."""
        return _answer(keys.get(key_id=key_id))

    @extend_schema(
        operation_id="update_api_key",
        summary="Change an API key",
        tags=["api keys"],
        request=ApiKeyChanges,
        responses={200: ApiKeyOutput} | ERRORS,
    )
    def partial_update(self, request: Request, key_id: str) -> Response:
        """Change a key's name, scopes, models, limits or expiry, within the caller's own rights.

        Omitted fields do not change.
        """
        key = keys.get(key_id=key_id)
        changed = keys.change(
            key=key,
            changes=self.validated(ApiKeyChanges),
            actor=actor_of(request),
            keep_admin=_is_key(request),
            giver=bounds_of(request.user),
        )
        return _answer(changed)

    @extend_schema(
        operation_id="revoke_api_key",
        summary="Revoke an API key",
        tags=["api keys"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, key_id: str) -> Response:
        """Revoke a key: requests with it are refused, and it stays in the list. Idempotent."""
        key = keys.get(key_id=key_id)
        # The right to revoke is enough for a session: a user can end a key that they could not give.
        giver = bounds_of(request.user) if _is_key(request) else UNBOUNDED
        keys.revoke(key=key, actor=actor_of(request), keep_admin=_is_key(request), giver=giver)
        return Response(status=204)


def _is_key(request: Request) -> bool:
    """Whether the caller is a key. A session can always create a new key; keys cannot without one that has `admin`."""
    return isinstance(request.user, KeyPrincipal)


def _answer(key: ApiKey) -> Response:
    return Response(represent_key(key, keys.last_used([key])))
