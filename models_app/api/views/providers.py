"""Providers: list, add, change, test, delete."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
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
from models_app.api.views.base import ManagementViewSet
from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.models import Provider
from models_app.services.catalog import lookup
from models_app.services.registry import provider_settings, provider_trial

_SLUG = [OpenApiParameter("provider", str, OpenApiParameter.PATH, description="The slug.")]


class ProviderViewSet(ManagementViewSet):
    lookup_url_kwarg = "provider"
    lookup_value_converter = "provider"

    @extend_schema(
        operation_id="list_providers",
        summary="List providers",
        tags=["providers"],
        responses={200: ProviderListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All providers, with their circuits and their last discoveries."""
        rows = Provider.objects.order_by("slug")
        return Response({"providers": [provider_settings.represent(row) for row in rows]})

    @extend_schema(
        operation_id="create_provider",
        summary="Add a provider",
        tags=["providers"],
        request=ProviderInput,
        responses={201: ProviderOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Add a provider. NOA sends nothing to it yet: test it, then discover its models."""
        body = ProviderInput(data=request.data)
        body.is_valid(raise_exception=True)
        settings = body.settings()
        slug = settings.pop("slug")
        provider = provider_settings.add(slug=slug, settings=ProviderSettings(**settings), actor=actor_of(request))
        location = reverse("api:provider", kwargs={"provider": provider.slug})
        return Response(provider_settings.represent(provider), status=201, headers={"Location": location})

    @extend_schema(
        operation_id="get_provider",
        summary="Get a provider",
        tags=["providers"],
        parameters=_SLUG,
        responses={200: ProviderOutput} | ERRORS,
    )
    def retrieve(self, request: Request, provider: str) -> Response:
        """One provider."""
        query.refuse_unknown(request, ())
        return Response(provider_settings.represent(lookup.provider(slug=provider)))

    @extend_schema(
        operation_id="update_provider",
        summary="Change a provider",
        tags=["providers"],
        parameters=_SLUG,
        request=ProviderChanges,
        responses={200: ProviderOutput} | ERRORS,
    )
    def partial_update(self, request: Request, provider: str) -> Response:
        """Change fields of a provider. With another `base_url`, the key must be entered again."""
        body = ProviderChanges(data=request.data)
        body.is_valid(raise_exception=True)
        changed = provider_settings.change(slug=provider, fields=body.settings(), actor=actor_of(request))
        return Response(provider_settings.represent(changed))

    @extend_schema(
        operation_id="delete_provider",
        summary="Delete a provider",
        tags=["providers"],
        parameters=_SLUG,
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, provider: str) -> Response:
        """Remove a provider that has no models."""
        provider_settings.remove(slug=provider, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(
        operation_id="test_provider",
        summary="Test a provider",
        tags=["providers"],
        parameters=_SLUG,
        request=NoInput,
        responses={200: ProviderTrialOutput} | ERRORS,
    )
    @action(detail=True, methods=["post"], url_name="provider-test")
    def test(self, request: Request, provider: str) -> Response:
        """Request the provider's list of models, and report the outcome and the duration."""
        NoInput(data=request.data or {}).is_valid(raise_exception=True)
        return Response(provider_trial.try_out(slug=provider))
