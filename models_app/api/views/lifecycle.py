"""Verbs that take time: they answer with a job."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.permissions import check_model
from models_app.api.serializers.lifecycle import LoadInput, SwitchInput, UnloadInput
from models_app.api.serializers.providers import DiscoverInput
from models_app.api.views.base import ManagementView
from models_app.services import requests


class Load(ManagementView):
    @extend_schema(
        operation_id="load_model",
        tags=["lifecycle"],
        request=LoadInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Load a model. Many who ask for the same at once share one job; a loaded model stays as it is."""
        query.refuse_unknown(request, ("wait",))
        body = LoadInput(data=request.data)
        body.is_valid(raise_exception=True)
        check_model(request, key=body.validated_data["key"])
        job, created = requests.request_load(
            key=body.validated_data["key"],
            options=body.validated_data["options"],
            node=body.validated_data["node"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)


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
        job, created = requests.request_unload(
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
        job, created = requests.request_switch(**wish, actor=actor_of(request))
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
        job, created = requests.request_discover(
            provider=body.validated_data.get("provider"), actor=actor_of(request)
        )
        return answer_with_job(request, job, created=created)
