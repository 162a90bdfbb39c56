"""Registered models: looked for, read, registered, changed, taken out."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import filters, query
from models_app.api.authentication import actor_of
from models_app.api.filters import PARAMETERS, PROVIDER
from models_app.api.pagination import NEWEST_FIRST, newest_first, numbered
from models_app.api.parsers import json_object
from models_app.api.representations import represent_instance, represent_model, represent_version
from models_app.api.schema import ERRORS
from models_app.api.serializers import entries as bodies
from models_app.api.serializers.instances import LoadedOutput
from models_app.api.serializers.models import (
    CurrentOutput,
    InstanceListOutput,
    ModelListOutput,
    ModelOutput,
    RegisteredOutput,
    VersionListOutput,
)
from models_app.api.views.base import ManagementView
from models_app.domain.catalog import entries
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields
from models_app.domain.keys import ModelKey
from models_app.services.catalog import activity, listing, lookup
from models_app.services.catalog.searching import Search
from models_app.services.registry import registration
from models_app.services.reporting import statistics
from models_app.services.routes import routing

KEY = OpenApiParameter(
    "key",
    str,
    OpenApiParameter.PATH,
    description="`<provider>:<model id>`. The id may hold `/`, as it is or as `%2F`.",
)


class ModelList(ManagementView):
    @extend_schema(
        operation_id="list_models",
        tags=["models"],
        parameters=[PROVIDER, *PARAMETERS],
        responses={200: ModelListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """Every registered model that fits all conditions, one page at a time."""
        return _page(request, filters.read(request))

    @extend_schema(
        operation_id="register_model",
        tags=["models"],
        request={"application/json": bodies.REGISTRATION},
        responses={200: RegisteredOutput, 201: RegisteredOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Register a model, or many at once: all of them or none.

        What is registered already gets what is given, and keeps its accesses. 201 when something is new, with the
        address of a single new model in `Location`; 200 when all were registered before.
        """
        query.refuse_unknown(request, ())
        given, places = _given(json_object(request))
        self.audit_subject = str(given[0].key) if len(given) == 1 else f"{len(given)} models"
        done = registration.register(given=given, places=places, actor=actor_of(request))
        created = [key for key, new in done if new]
        answer = {
            "created": len(created),
            "updated": len(done) - len(created),
            "models": [represent_model(row) for row in listing.rows(keys=[key for key, _ in done])],
        }
        headers = None
        if len(done) == 1 and created:
            headers = {"Location": reverse("api:model", kwargs={"key": created[0]})}
        return Response(answer, status=201 if created else 200, headers=headers)


def _given(body: dict[str, Any]) -> tuple[list[entries.Entry], list[str]]:
    """The entries of a body, and their places in it."""
    if "models" not in body:
        return [entries.parse_entry(body)], [""]
    entries.refuse_unknown(body, ("models",), "")
    several = Fields(body).items("models", 1, bodies.MAX_MODELS)
    if several is None:
        raise InvalidRequest(f"'models' must be a list of 1 to {bodies.MAX_MODELS:,} models.", param="models")
    places = [f"models[{index}]." for index in range(len(several))]
    return [entries.parse_entry(*one) for one in zip(several, places, strict=True)], places


class ProviderModelList(ManagementView):
    @extend_schema(
        operation_id="list_models_of_provider",
        tags=["models"],
        parameters=[
            OpenApiParameter(
                "provider",
                str,
                OpenApiParameter.PATH,
                description="The provider's slug.",
            ),
            *PARAMETERS,
        ],
        responses={200: ModelListOutput} | ERRORS,
    )
    def get(self, request: Request, provider: str) -> Response:
        """The models of one provider; a provider that is not configured is not found."""
        slug = lookup.provider(slug=provider).slug
        return _page(request, filters.read(request, provider=slug))


def _page(request: Request, search: Search) -> Response:
    return numbered(
        request,
        lambda number, size: listing.page(search=search, number=number, size=size),
        word="models",
        represent=represent_model,
    )


class ModelDetail(ManagementView):
    @extend_schema(
        operation_id="get_model",
        tags=["models"],
        parameters=[KEY],
        responses={200: ModelOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """One model, by its key. The read is counted: the answer's `access_count` holds it."""
        query.refuse_unknown(request, ())
        canonical = str(ModelKey.parse(key))
        found = listing.row(key=canonical)
        activity.count_read(key=canonical)
        return Response(represent_model(listing.counted(found)))

    @extend_schema(
        operation_id="update_model",
        tags=["models"],
        parameters=[KEY],
        request={"application/json": bodies.CHANGES},
        responses={200: ModelOutput} | ERRORS,
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change what is said of a model. `deprecated` with `deprecation_note` warns those who look for models."""
        query.refuse_unknown(request, ())
        fields = entries.parse_changes(json_object(request))
        registration.update(key=key, fields=fields, actor=actor_of(request))
        return Response(represent_model(listing.row(key=key)))

    @extend_schema(
        operation_id="deregister_model",
        tags=["models"],
        parameters=[KEY],
        responses={204: None} | ERRORS,
    )
    def delete(self, request: Request, key: str) -> Response:
        """Take a model out of the registry; its file, the logs and the events stay.

        409 while it is loaded or a route leads to it: unload it, and point the route at another model, first. A file
        that still lies in a model folder is registered again by the next discovery.
        """
        query.refuse_unknown(request, ())
        registration.deregister(key=key, actor=actor_of(request))
        return Response(status=204)


class ModelTags(ManagementView):
    @extend_schema(
        operation_id="edit_model_tags",
        tags=["models"],
        parameters=[KEY],
        request={"application/json": bodies.TAG_CHANGES},
        responses={200: ModelOutput} | ERRORS,
    )
    def post(self, request: Request, key: str) -> Response:
        """Add tags and take tags away, whatever others change at the same time. To set all tags, PATCH the model."""
        query.refuse_unknown(request, ())
        body = json_object(request)
        entries.refuse_unknown(body, ("add", "remove"), "")
        registration.edit_tags(
            key=key,
            add=entries.parse_tags(body.get("add"), "add"),
            remove=entries.parse_tags(body.get("remove"), "remove"),
            actor=actor_of(request),
        )
        return Response(represent_model(listing.row(key=key)))


class ModelVersions(ManagementView):
    @extend_schema(
        operation_id="list_model_versions",
        tags=["models"],
        parameters=[KEY, *NEWEST_FIRST],
        responses={200: VersionListOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """The files that a local model was, newest first."""
        query.refuse_unknown(request, ("limit", "before"))
        model, versions = listing.versions(key=key)
        return newest_first(
            request,
            versions,
            word="versions",
            represent=lambda one: represent_version(one, current=one.pk == model.version_id),
        )


class ModelInstances(ManagementView):
    @extend_schema(
        operation_id="list_model_instances",
        tags=["models"],
        parameters=[KEY, *NEWEST_FIRST],
        responses={200: InstanceListOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """Every loaded copy that there was of a model, newest first, with how it ended."""
        query.refuse_unknown(request, ("limit", "before"))
        return newest_first(
            request,
            listing.instances(key=key),
            word="instances",
            represent=represent_instance,
            by="created_at",
        )


class LoadedModels(ManagementView):
    @extend_schema(operation_id="list_loaded_models", tags=["models"], responses={200: LoadedOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """The instances that are loaded or becoming so, with measured memory and requests in flight."""
        query.refuse_unknown(request, ())
        loaded = statistics.loaded()
        target = routing.get().target
        answer = {
            "count": len(loaded),
            "current_model": target.key if target else None,
            "instances": loaded,
        }
        return Response(LoadedOutput(answer).data)


class CurrentModel(ManagementView):
    @extend_schema(operation_id="get_current_model", tags=["models"], responses={200: CurrentOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """What the route `current` leads to."""
        query.refuse_unknown(request, ())
        route = routing.get()
        model = listing.row(key=route.target.key) if route.target else None
        return Response({"route": route.name, "model": represent_model(model) if model else None})
