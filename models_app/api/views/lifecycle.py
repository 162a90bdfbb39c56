"""Load, unload, switch and discover, which run as jobs."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of, allowed_models_of, may_evict
from models_app.api.permissions import check_model
from models_app.api.serializers.jobs import JobOutput
from models_app.api.serializers.lifecycle import EstimateOutput, LoadInput, SwitchInput, UnloadInput
from models_app.api.serializers.providers import DiscoverInput
from models_app.api.views.base import ManagementViewSet
from models_app.domain.errors import PermissionDenied
from models_app.services.lifecycle import commands
from models_app.services.routes import routing


class LifecycleViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="load_model",
        summary="Load a model",
        tags=["lifecycle"],
        request=LoadInput,
        parameters=[
            *WAIT,
            OpenApiParameter("dry_run", bool, description="Like the field of the body: only estimate."),
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
    @action(detail=False, methods=["post"], url_name="load")
    def load(self, request: Request) -> Response:
        """Load a model. Concurrent requests for the same load share one job; for a loaded model nothing changes.

        If memory is short, models that are idle, not pinned and of no higher priority are evicted. A load that cannot
        fit is refused at once. With `dry_run` nothing changes: the answer is an estimate.
        """
        query.refuse_unknown(request, ("wait", "dry_run"))
        body = self.validated(LoadInput)
        check_model(request, key=body["key"])
        named = {"key": body["key"], "options": body["options"], "fit": body["fit"]}
        if body["dry_run"] or query.flag(request, "dry_run"):
            return Response(commands.estimate_load(**named).represent())
        job, created = commands.request_load(
            **named, node=body["node"], actor=actor_of(request), may_evict=may_evict(request)
        )
        return answer_with_job(request, job, created=created)

    @extend_schema(
        operation_id="unload_model",
        summary="Unload a model",
        tags=["lifecycle"],
        request=UnloadInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    @action(detail=False, methods=["post"], url_name="unload")
    def unload(self, request: Request) -> Response:
        """Finish the requests in flight, then stop the model's runner."""
        query.refuse_unknown(request, ("wait",))
        body = self.validated(UnloadInput)
        check_model(request, key=body["key"])
        job, created = commands.request_unload(key=body["key"], node=body["node"], actor=actor_of(request))
        return answer_with_job(request, job, created=created)

    @extend_schema(
        operation_id="switch_model",
        summary="Switch a route to another model",
        tags=["lifecycle"],
        request=SwitchInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    @action(detail=False, methods=["post"], url_name="switch")
    def switch(self, request: Request) -> Response:
        """Move a route (`current`) to another model without a failed request.

        The new model is loaded beside the old one and warmed up, then the route moves in one transaction, then the old
        model drains. If the new one cannot be loaded, the old one continues to serve, and the job has the reason.
        """
        query.refuse_unknown(request, ("wait",))
        body = self.validated(SwitchInput)
        check_model(request, key=body["key"], route=body["route"])
        if allowed_models_of(request) and not body["keep_previous"]:
            _check_previous(request, body["route"])
        job, created = commands.request_switch(**body, actor=actor_of(request), may_evict=may_evict(request))
        return answer_with_job(request, job, created=created)

    @extend_schema(
        operation_id="discover_models",
        summary="Discover models",
        tags=["lifecycle"],
        request=DiscoverInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    @action(detail=False, methods=["post"], url_name="discover")
    def discover(self, request: Request) -> Response:
        """List the models of every provider, or of one, and scan the model folders.

        The job's result has the new, changed, gone and refused models of each provider, or its error. A provider that
        fails does not stop the others.
        """
        query.refuse_unknown(request, ("wait",))
        body = self.validated(DiscoverInput)
        job, created = commands.request_discover(provider=body.get("provider"), actor=actor_of(request))
        return answer_with_job(request, job, created=created)


def _check_previous(request: Request, route: str) -> None:
    """A switch also unloads the previous target: the caller's key needs that model too, unless it is kept."""
    previous = routing.get(name=route).target
    try:
        check_model(request, key=previous.key if previous else "")
    except PermissionDenied as error:
        raise PermissionDenied(
            f"The switch would unload the present target of '{route}', which this API key cannot use. "
            "Set 'keep_previous' to true.",
            code=error.code,
            param="keep_previous",
        ) from None
