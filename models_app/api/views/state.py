"""The desired state: read, saved under a name, restored."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
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
from models_app.api.views.base import ManagementView
from models_app.models import StateSnapshot
from models_app.services.desired_state import saved_states


class StateDetail(ManagementView):
    @extend_schema(operation_id="get_state", tags=["state"], responses={200: StateOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """What should be loaded, with which options, and where routes lead. A restart makes it true again."""
        query.refuse_unknown(request, ())
        return Response(saved_states.current())


class SaveState(ManagementView):
    @extend_schema(
        operation_id="save_state",
        tags=["state"],
        request=SaveStateInput,
        responses={201: SnapshotOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Keep the desired state of now under a name; without one, under the time."""
        body = SaveStateInput(data=request.data)
        body.is_valid(raise_exception=True)
        return _created(saved_states.save(name=body.validated_data.get("name"), actor=actor_of(request)))


class SnapshotList(ManagementView):
    @extend_schema(
        operation_id="list_snapshots",
        tags=["state"],
        parameters=NEWEST_FIRST,
        responses={200: SnapshotListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """All snapshots, newest first."""
        query.refuse_unknown(request, ("limit", "before"))
        rows = StateSnapshot.objects.all()
        return newest_first(request, rows, word="snapshots", represent=represent_summary)

    @extend_schema(
        operation_id="import_snapshot",
        tags=["state"],
        request=SnapshotInput,
        responses={201: SnapshotOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Keep a snapshot that was downloaded, from this server or another. Nothing is loaded."""
        body = SnapshotInput(data=request.data)
        body.is_valid(raise_exception=True)
        return _created(saved_states.take_in(**body.validated_data, actor=actor_of(request)))


class SnapshotDetail(ManagementView):
    @extend_schema(
        operation_id="get_snapshot",
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
    def get(self, request: Request, name: str) -> Response:
        """One snapshot, whole."""
        query.refuse_unknown(request, ("download",))
        snapshot = saved_states.get(name=name)
        answer = Response(represent_snapshot(snapshot))
        if query.flag(request, "download"):
            answer["Content-Disposition"] = f'attachment; filename="{snapshot.name}.json"'
        return answer

    @extend_schema(operation_id="delete_snapshot", tags=["state"], responses={204: None} | ERRORS)
    def delete(self, request: Request, name: str) -> Response:
        """Delete a snapshot. What is loaded stays loaded."""
        saved_states.delete(name=name)
        return Response(status=204)


class SnapshotRestore(ManagementView):
    @extend_schema(
        operation_id="restore_state",
        tags=["state"],
        request=RestoreInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request, name: str) -> Response:
        """Load what the snapshot wants and move routes to where they led, as a job.

        It goes on after a failure: the job's result lists what was `loaded`, `unchanged`, `moved`, `unloaded` and
        `failed`.
        """
        body = RestoreInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = saved_states.request_restore(
            name=name,
            unload_others=body.validated_data["unload_others"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)


def _created(snapshot: StateSnapshot) -> Response:
    location = reverse("api:snapshot", kwargs={"name": snapshot.name})
    return Response(represent_snapshot(snapshot), status=201, headers={"Location": location})
