"""Verbs that take time: they answer with a job."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.permissions import check_model
from models_app.api.schema import ERRORS
from models_app.api.serializers.jobs import JobOutput
from models_app.api.serializers.lifecycle import (
    EstimateOutput,
    HistoryOutput,
    LoadInput,
    SwitchInput,
    UnloadInput,
)
from models_app.api.serializers.providers import DiscoverInput
from models_app.api.views.base import ManagementView
from models_app.api.views.registry import KEY
from models_app.services.catalog import ledger
from models_app.services.lifecycle import commands


class Load(ManagementView):
    @extend_schema(
        operation_id="load_model",
        tags=["lifecycle"],
        request=LoadInput,
        parameters=[
            *WAIT,
            OpenApiParameter("dry_run", bool, description="As the field of the body: only estimate."),
        ],
        responses=JOB_RESPONSES
        | {
            200: PolymorphicProxySerializer(
                component_name="LoadAnswer",
                serializers=[JobOutput, EstimateOutput],
                resource_type_field_name=None,
            )
        },
    )
    def post(self, request: Request) -> Response:
        """Load a model. Many who ask for the same at once share one job; a loaded model stays as it is.

        What other models hold is taken from those that are not in use, not pinned and not more important. A load
        that cannot fit is refused at once. With `dry_run` nothing is done: the answer says what would be.
        """
        query.refuse_unknown(request, ("wait", "dry_run"))
        body = LoadInput(data=request.data)
        body.is_valid(raise_exception=True)
        wish = body.validated_data
        check_model(request, key=wish["key"])
        named = {"key": wish["key"], "options": wish["options"], "fit": wish["fit"]}
        if wish["dry_run"] or query.flag(request, "dry_run"):
            return Response(commands.estimate_load(**named).represent())
        job, created = commands.request_load(**named, node=wish["node"], actor=actor_of(request))
        return answer_with_job(request, job, created=created)


class History(ManagementView):
    @extend_schema(
        operation_id="get_model_history",
        tags=["models"],
        parameters=[KEY, *NEWEST_FIRST],
        responses={200: HistoryOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """Every load, unload, eviction, refusal, switch and recovery of a model, newest first, each with its reason."""
        query.refuse_unknown(request, ("limit", "before"))
        return newest_first(request, ledger.of_model(key=key), word="history", represent=ledger.represent)


class Unload(ManagementView):
    @extend_schema(
        operation_id="unload_model",
        tags=["lifecycle"],
        request=UnloadInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Let the requests in flight end, then stop the model's runner."""
        query.refuse_unknown(request, ("wait",))
        body = UnloadInput(data=request.data)
        body.is_valid(raise_exception=True)
        check_model(request, key=body.validated_data["key"])
        job, created = commands.request_unload(
            key=body.validated_data["key"],
            node=body.validated_data["node"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)


class Switch(ManagementView):
    @extend_schema(
        operation_id="switch_model",
        tags=["lifecycle"],
        request=SwitchInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Move a route (`current`) to another model without a failed request.

        The new model is started beside the old and warmed, then the route moves in one transaction, then the old
        model drains. If the new one cannot be loaded the old keeps serving and the job says why.
        """
        query.refuse_unknown(request, ("wait",))
        body = SwitchInput(data=request.data)
        body.is_valid(raise_exception=True)
        wish = body.validated_data
        check_model(request, key=wish["key"], route=wish["route"])
        job, created = commands.request_switch(**wish, actor=actor_of(request))
        return answer_with_job(request, job, created=created)


class Discover(ManagementView):
    @extend_schema(
        operation_id="discover_models",
        tags=["lifecycle"],
        request=DiscoverInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Ask every provider, or one, for its models, and look through the model folders.

        The job's result tells of each provider what is new, changed, gone and refused, or why it could not be asked.
        One provider that fails does not stop the others.
        """
        query.refuse_unknown(request, ("wait",))
        body = DiscoverInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = commands.request_discover(provider=body.validated_data.get("provider"), actor=actor_of(request))
        return answer_with_job(request, job, created=created)
