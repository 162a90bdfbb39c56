"""Registered models: search, read, register, change, deregister."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.filters import ProviderSearchBackend, SearchBackend
from models_app.api.pagination import NewestFirst, Numbered
from models_app.api.parsers import json_object
from models_app.api.permissions import check_model, require_admin_fields
from models_app.api.representations import represent_instance, represent_model, represent_version
from models_app.api.schema import ERRORS
from models_app.api.serializers import entries as bodies
from models_app.api.serializers.instances import LoadedOutput
from models_app.api.serializers.lifecycle import HistoryOutput
from models_app.api.serializers.models import (
    CurrentOutput,
    InstanceListOutput,
    ModelListOutput,
    ModelOutput,
    RegisteredOutput,
    VersionListOutput,
)
from models_app.api.serializers.usage import StatisticsOutput, UsageOutput
from models_app.api.views.base import ManagementViewSet
from models_app.domain.catalog import entries
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields
from models_app.domain.keys import ModelKey
from models_app.domain.periods import Step
from models_app.services.catalog import activity, ledger, listing, lookup, usage
from models_app.services.registry import registration
from models_app.services.reporting import statistics
from models_app.services.routes import routing

KEY = OpenApiParameter(
    "key",
    str,
    OpenApiParameter.PATH,
    description="`<provider>:<model id>`. The id can contain `/`, literal or as `%2F`.",
)
_SLUG = OpenApiParameter("provider", str, OpenApiParameter.PATH, description="The provider's slug.")
_LONGEST_LIST = 100


def _period(default: str) -> list[OpenApiParameter]:
    return [
        OpenApiParameter("from", OpenApiTypes.DATETIME, description=f"By default {default}."),
        OpenApiParameter("to", OpenApiTypes.DATETIME, description="By default now."),
    ]


class ModelPages(Numbered):
    word = "models"


class VersionPages(NewestFirst):
    word = "versions"


class InstancePages(NewestFirst):
    word = "instances"
    ordering = "created_at"


class HistoryPages(NewestFirst):
    word = "history"


class ModelViewSet(ManagementViewSet):
    filter_backends = (SearchBackend,)
    pagination_class = ModelPages
    lookup_url_kwarg = "key"
    lookup_value_converter = "modelkey"

    @extend_schema(
        operation_id="list_models",
        summary="List models",
        tags=["models"],
        responses={200: ModelListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """The registered models that match all filters, by page."""
        return self.paginated(listing.page, represent_model)

    @extend_schema(
        operation_id="register_model",
        summary="Register models",
        tags=["models"],
        request={"application/json": bodies.REGISTRATION},
        responses={200: RegisteredOutput, 201: RegisteredOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Register one or many models: all of them, or none.

        A model that is registered already gets the fields in the body, and keeps its accesses. `price` needs the scope
        `admin`. 201 if any model is new,
        with the address of a single new model in `Location`; 200 if all were registered already.
        """
        query.refuse_unknown(request, ())
        parsed, places = _entries(json_object(request))
        for entry in parsed:
            check_model(request, key=str(entry.key))
            require_admin_fields(request, entry.fields)
        self.audit_subject = str(parsed[0].key) if len(parsed) == 1 else f"{len(parsed)} models"
        done = registration.register(given=parsed, places=places, actor=actor_of(request))
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

    @extend_schema(
        operation_id="get_model",
        summary="Get a model",
        tags=["models"],
        parameters=[KEY],
        responses={200: ModelOutput} | ERRORS,
    )
    def retrieve(self, request: Request, key: str) -> Response:
        """One model, by its key. The read is counted: the answer's `access_count` includes it."""
        query.refuse_unknown(request, ())
        canonical = str(ModelKey.parse(key))
        found = listing.row(key=canonical)
        activity.count_read(key=canonical)
        return Response(represent_model(listing.counted(found)))

    @extend_schema(
        operation_id="update_model",
        summary="Change a model",
        tags=["models"],
        parameters=[KEY],
        request={"application/json": bodies.CHANGES},
        responses={200: ModelOutput} | ERRORS,
    )
    def partial_update(self, request: Request, key: str) -> Response:
        """Change fields of a model. `price` needs the scope `admin`.

        `deprecated` and `deprecation_note` are shown in lists of models.
        """
        query.refuse_unknown(request, ())
        fields = entries.parse_changes(json_object(request))
        require_admin_fields(request, fields)
        registration.update(key=key, fields=fields, actor=actor_of(request))
        return Response(represent_model(listing.row(key=key)))

    @extend_schema(
        operation_id="deregister_model",
        summary="Deregister a model",
        tags=["models"],
        parameters=[KEY],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, key: str) -> Response:
        """Remove a model from the registry. Its file, the access log and the events stay.

        409 while it is loaded, or the target or a fallback of a route: unload it, and switch the route, first. The next
        discovery registers a file that is still in a model folder again.
        """
        query.refuse_unknown(request, ())
        registration.deregister(key=key, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(
        operation_id="edit_model_tags",
        summary="Add and remove tags of a model",
        tags=["models"],
        parameters=[KEY],
        request={"application/json": bodies.TAG_CHANGES},
        responses={200: ModelOutput} | ERRORS,
    )
    @action(detail=True, methods=["post"], url_name="model-tags")
    def tags(self, request: Request, key: str) -> Response:
        """Add and remove tags, safely with concurrent requests. To replace all tags, PATCH the model."""
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

    @extend_schema(
        operation_id="list_model_versions",
        summary="List versions of a model",
        tags=["models"],
        parameters=[KEY],
        responses={200: VersionListOutput} | ERRORS,
    )
    @action(detail=True, url_name="model-versions", pagination_class=VersionPages, filter_backends=())
    def versions(self, request: Request, key: str) -> Response:
        """The versions of a local model's file, newest first."""
        model, versions = listing.versions(key=key)
        return self.paginated(versions, lambda row: represent_version(row, current=row.pk == model.version_id))

    @extend_schema(
        operation_id="list_model_instances",
        summary="List instances of a model",
        tags=["models"],
        parameters=[KEY],
        responses={200: InstanceListOutput} | ERRORS,
    )
    @action(detail=True, url_name="model-instances", pagination_class=InstancePages, filter_backends=())
    def instances(self, request: Request, key: str) -> Response:
        """All loaded copies of a model so far, newest first, and how they ended."""
        return self.paginated(listing.instances(key=key), represent_instance)

    @extend_schema(
        operation_id="get_model_history",
        summary="Get the history of a model",
        tags=["models"],
        parameters=[KEY],
        responses={200: HistoryOutput} | ERRORS,
    )
    @action(detail=True, url_name="model-history", pagination_class=HistoryPages, filter_backends=())
    def history(self, request: Request, key: str) -> Response:
        """Loads, unloads, evictions, refusals, switches and recoveries of a model with their reasons, newest first."""
        return self.paginated(ledger.of_model(key=key), ledger.represent)

    @extend_schema(
        operation_id="get_model_usage",
        summary="Get the usage of a model",
        tags=["statistics"],
        parameters=[
            *_period("24 hours before the end; with `day`, 30 days"),
            OpenApiParameter(
                "group_by",
                str,
                enum=[*Step],
                description="`hour` (the default, at most 31 days) or `day` (at most 366); days are those of UTC.",
            ),
        ],
        responses={200: UsageOutput} | ERRORS,
    )
    @action(detail=True, url_name="usage")
    def usage(self, request: Request, key: str) -> Response:
        """Reads and requests of a model by hour or day and by API key, with cost and latency."""
        query.refuse_unknown(request, ("from", "to", "group_by"))
        step = query.choice(request, "group_by", [*Step])
        found = usage.of_model(
            key=key,
            since=query.moment(request, "from"),
            until=query.moment(request, "to"),
            step=Step(step or Step.HOUR),
        )
        return Response(found)

    @extend_schema(
        operation_id="list_loaded_models",
        summary="List loaded models",
        tags=["models"],
        responses={200: LoadedOutput} | ERRORS,
    )
    @action(detail=False, url_name="loaded")
    def loaded(self, request: Request) -> Response:
        """The instances that are loaded or loading, with measured memory and requests in flight."""
        query.refuse_unknown(request, ())
        loaded = statistics.loaded()
        target = routing.get().target
        answer = {
            "count": len(loaded),
            "current_model": target.key if target else None,
            "instances": loaded,
        }
        return Response(LoadedOutput(answer).data)

    @extend_schema(
        operation_id="get_current_model",
        summary="Get the current model",
        tags=["models"],
        responses={200: CurrentOutput} | ERRORS,
    )
    @action(detail=False, url_name="current")
    def current(self, request: Request) -> Response:
        """The target of the route `current`."""
        query.refuse_unknown(request, ())
        route = routing.get()
        model = listing.row(key=route.target.key) if route.target else None
        return Response({"route": route.name, "model": represent_model(model) if model else None})

    @extend_schema(
        operation_id="get_statistics",
        summary="Get statistics of the server",
        tags=["statistics"],
        parameters=[
            *_period("24 hours before the end"),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": _LONGEST_LIST, "default": 5},
                description="The length of each list.",
            ),
        ],
        responses={200: StatisticsOutput} | ERRORS,
    )
    @action(detail=False, url_name="statistics")
    def statistics(self, request: Request) -> Response:
        """Counts of models, their usage in a period of at most 31 days, and models that need attention."""
        query.refuse_unknown(request, ("from", "to", "limit"))
        found = statistics.overview(
            since=query.moment(request, "from"),
            until=query.moment(request, "to"),
            limit=query.integer(request, "limit", default=5, low=1, high=_LONGEST_LIST),
        )
        return Response(found)


def _entries(body: dict[str, Any]) -> tuple[list[entries.Entry], list[str]]:
    """The entries of a body and their places in it. Raises InvalidRequest."""
    if "models" not in body:
        return [entries.parse_entry(body)], [""]
    entries.refuse_unknown(body, ("models",), "")
    several = Fields(body).items("models", 1, bodies.MAX_MODELS)
    if several is None:
        raise InvalidRequest(f"'models' must be a list of 1 to {bodies.MAX_MODELS:,} models.", param="models")
    places = [f"models[{index}]." for index in range(len(several))]
    return [entries.parse_entry(*item) for item in zip(several, places, strict=True)], places


class ProviderModelViewSet(ManagementViewSet):
    filter_backends = (ProviderSearchBackend,)
    pagination_class = ModelPages

    @extend_schema(
        operation_id="list_models_of_provider",
        summary="List models of a provider",
        tags=["models"],
        parameters=[_SLUG],
        responses={200: ModelListOutput} | ERRORS,
    )
    def list(self, request: Request, provider: str) -> Response:
        """The models of one provider; 404 if it is not configured."""
        lookup.provider(slug=provider)
        return self.paginated(listing.page, represent_model)
