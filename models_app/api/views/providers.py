"""Where models come from."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.providers import (
    ProviderChanges,
    ProviderInput,
    ProviderListOutput,
    ProviderOutput,
    ProviderTrialOutput,
)
from models_app.api.views.base import ManagementView
from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.scopes import Scope
from models_app.models import Provider
from models_app.services.catalog import lookup
from models_app.services.registry import provider_settings, provider_trial

_SLUG = [OpenApiParameter("provider", str, OpenApiParameter.PATH, description="The slug.")]


class ProviderList(ManagementView):
    scopes: ClassVar[dict[str, Scope]] = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="list_providers",
        tags=["providers"],
        responses={200: ProviderListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """Every provider, with the state of its circuit and of its last discovery."""
        query.refuse_unknown(request, ())
        rows = Provider.objects.order_by("slug")
        return Response({"providers": [provider_settings.represent(row) for row in rows]})

    @extend_schema(
        operation_id="create_provider",
        tags=["providers"],
        request=ProviderInput,
        responses={201: ProviderOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Add a provider. Nothing is asked of it yet: test it, then discover its models."""
        body = ProviderInput(data=request.data)
        body.is_valid(raise_exception=True)
        given = body.settings()
        slug = given.pop("slug")
        provider = provider_settings.add(slug=slug, settings=ProviderSettings(**given), actor=actor_of(request))
        location = reverse("api:provider", kwargs={"provider": provider.slug})
        return Response(provider_settings.represent(provider), status=201, headers={"Location": location})


class ProviderDetail(ManagementView):
    scopes: ClassVar[dict[str, Scope]] = {"PATCH": Scope.ADMIN, "DELETE": Scope.ADMIN}

    @extend_schema(
        operation_id="get_provider",
        tags=["providers"],
        parameters=_SLUG,
        responses={200: ProviderOutput} | ERRORS,
    )
    def get(self, request: Request, provider: str) -> Response:
        """One provider."""
        query.refuse_unknown(request, ())
        return Response(provider_settings.represent(lookup.provider(slug=provider)))

    @extend_schema(
        operation_id="update_provider",
        tags=["providers"],
        parameters=_SLUG,
        request=ProviderChanges,
        responses={200: ProviderOutput} | ERRORS,
    )
    def patch(self, request: Request, provider: str) -> Response:
        """Change some fields. With another `base_url`, the key must be entered anew."""
        body = ProviderChanges(data=request.data)
        body.is_valid(raise_exception=True)
        changed = provider_settings.change(slug=provider, fields=body.settings(), actor=actor_of(request))
        return Response(provider_settings.represent(changed))

    @extend_schema(
        operation_id="delete_provider",
        tags=["providers"],
        parameters=_SLUG,
        responses={204: None} | ERRORS,
    )
    def delete(self, request: Request, provider: str) -> Response:
        """Remove a provider that has no models."""
        provider_settings.remove(slug=provider, actor=actor_of(request))
        return Response(status=204)


class ProviderTrial(ManagementView):
    scopes: ClassVar[dict[str, Any]] = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="test_provider",
        tags=["providers"],
        parameters=_SLUG,
        request=NoInput,
        responses={200: ProviderTrialOutput} | ERRORS,
    )
    def post(self, request: Request, provider: str) -> Response:
        """Ask the provider for its list of models, and say what it answered and how long that took."""
        NoInput(data=request.data or {}).is_valid(raise_exception=True)
        return Response(provider_trial.try_out(slug=provider))
