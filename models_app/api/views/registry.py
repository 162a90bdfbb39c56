"""Reads of the registry."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.filters import ModelFilters
from models_app.api.pagination import ModelPages
from models_app.api.schema import ERRORS
from models_app.api.serializers.instances import LoadedOutput
from models_app.api.serializers.models import CurrentOutput, ModelOutput
from models_app.api.views.base import ManagementView
from models_app.models import RegisteredModel
from models_app.services import registry, routing, statistics


class ModelList(ListAPIView[RegisteredModel]):
    queryset = RegisteredModel.objects.select_related("provider", "version")
    serializer_class = ModelOutput
    pagination_class = ModelPages
    filterset_class = ModelFilters

    @extend_schema(
        operation_id="list_models",
        tags=["models"],
        responses={200: ModelOutput(many=True)} | ERRORS,
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every registered model, one page at a time."""
        return super().get(request, *args, **kwargs)


class ProviderModelList(ModelList):
    def get_queryset(self) -> QuerySet[RegisteredModel]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()  # drf-spectacular asks without a provider
        provider = registry.provider(slug=self.kwargs["provider"])
        return super().get_queryset().filter(provider=provider)

    @extend_schema(
        operation_id="list_models_of_provider",
        tags=["models"],
        parameters=[
            OpenApiParameter(
                "provider", str, OpenApiParameter.PATH, description="The provider's slug."
            )
        ],
        responses={200: ModelOutput(many=True)} | ERRORS,
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The models of one provider."""
        return super().get(request, *args, **kwargs)


class ModelDetail(ManagementView):
    @extend_schema(
        operation_id="get_model",
        tags=["models"],
        parameters=[
            OpenApiParameter(
                "key", str, OpenApiParameter.PATH, description="`<provider>:<model id>`"
            )
        ],
        responses={200: ModelOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """One model, by its key."""
        return Response(ModelOutput(registry.get(key=key)).data)


class LoadedModels(ManagementView):
    @extend_schema(
        operation_id="list_loaded_models", tags=["models"], responses={200: LoadedOutput} | ERRORS
    )
    def get(self, request: Request) -> Response:
        """The instances that are loaded or becoming so, with measured memory and requests in flight."""
        loaded = statistics.loaded()
        target = routing.get().target
        answer = {
            "count": len(loaded),
            "current_model": target.key if target else None,
            "instances": loaded,
        }
        return Response(LoadedOutput(answer).data)


class CurrentModel(ManagementView):
    @extend_schema(
        operation_id="get_current_model", tags=["models"], responses={200: CurrentOutput} | ERRORS
    )
    def get(self, request: Request) -> Response:
        """What the route `current` leads to."""
        route = routing.get()
        model = registry.get(key=route.target.key) if route.target else None
        return Response(CurrentOutput({"route": route.name, "model": model}).data)
