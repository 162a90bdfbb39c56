"""The desired state: read it, save it under a name, restore it."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.pagination import NewestFirst
from models_app.api.schema import ERRORS
from models_app.api.serializers.state import (
    RestoreInput,
    SaveStateInput,
    SnapshotInput,
    SnapshotListOutput,
    SnapshotOutput,
    StateOutput,
    represent_snapshot,
    represent_summary,
)
from models_app.api.views.base import ManagementViewSet
from models_app.models import StateSnapshot
from models_app.services.desired_state import saved_states


class StateViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="get_state",
        summary="Get the desired state",
        tags=["state"],
        responses={200: StateOutput} | ERRORS,
    )
    def retrieve(self, request: Request) -> Response:
        """The models to load, with their options, and the targets of routes. A restart restores it."""
        query.refuse_unknown(request, ())
        return Response(saved_states.current())

    @extend_schema(
        operation_id="save_state",
        summary="Save the desired state",
        tags=["state"],
        request=SaveStateInput,
        responses={201: SnapshotOutput} | ERRORS,
    )
    def save(self, request: Request) -> Response:
        """Save the present desired state under a name; without one, under the time."""
        body = self.validated(SaveStateInput)
        return _created(saved_states.save(name=body.get("name"), actor=actor_of(request)))


class SnapshotPages(NewestFirst):
    word = "snapshots"


class SnapshotViewSet(ManagementViewSet):
    pagination_class = SnapshotPages
    lookup_url_kwarg = "name"

    @extend_schema(
        operation_id="list_snapshots",
        summary="List snapshots",
        tags=["state"],
        responses={200: SnapshotListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All snapshots, newest first."""
        return self.paginated(StateSnapshot.objects.all(), represent_summary)

    @extend_schema(
        operation_id="import_snapshot",
        summary="Import a snapshot",
        tags=["state"],
        request=SnapshotInput,
        responses={201: SnapshotOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Store a downloaded snapshot of this or another server. No model is loaded."""
        return _created(saved_states.take_in(**self.validated(SnapshotInput), actor=actor_of(request)))

    @extend_schema(
        operation_id="get_snapshot",
        summary="Get a snapshot",
        tags=["state"],
        parameters=[
            OpenApiParameter(
                "download",
                str,
                enum=["true", "false"],
                description="`true`: as a file, whose `name` and `content` can be imported.",
            )
        ],
        responses={200: SnapshotOutput} | ERRORS,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """One snapshot with its content."""
        query.refuse_unknown(request, ("download",))
        snapshot = saved_states.get(name=name)
        answer = Response(represent_snapshot(snapshot))
        if query.flag(request, "download"):
            answer["Content-Disposition"] = f'attachment; filename="{snapshot.name}.json"'
        return answer

    @extend_schema(
        operation_id="delete_snapshot",
        summary="Delete a snapshot",
        tags=["state"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, name: str) -> Response:
        """Delete a snapshot. Loaded models stay loaded."""
        saved_states.delete(name=name)
        return Response(status=204)

    @extend_schema(
        operation_id="restore_state",
        summary="Restore a snapshot",
        tags=["state"],
        request=RestoreInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    @action(detail=True, methods=["post"], url_name="snapshot-restore")
    def restore(self, request: Request, name: str) -> Response:
        """Load the models of a snapshot and move routes to their targets in it, as a job.

        The job continues after a failure; its result lists what was `loaded`, `unchanged`, `moved`, `unloaded` and
        `failed`.
        """
        body = self.validated(RestoreInput)
        job, created = saved_states.request_restore(
            name=name, unload_others=body["unload_others"], actor=actor_of(request)
        )
        return answer_with_job(request, job, created=created)


def _created(snapshot: StateSnapshot) -> Response:
    location = reverse("api:snapshot", kwargs={"name": snapshot.name})
    return Response(represent_snapshot(snapshot), status=201, headers={"Location": location})
