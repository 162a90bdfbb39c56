"""The machines that own runners."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.nodes import NodeListOutput, NodeOutput
from models_app.api.views.base import ManagementView
from models_app.domain.scopes import Scope
from models_app.models import Node
from models_app.services.lifecycle import draining
from models_app.services.nodes import cluster


class NodeList(ManagementView):
    @extend_schema(operation_id="list_nodes", tags=["nodes"], responses={200: NodeListOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """All nodes, with what each has and what is loaded there."""
        query.refuse_unknown(request, ())
        return Response({"nodes": cluster.represent(list(Node.objects.all()))})


class NodeDetail(ManagementView):
    scopes = {"DELETE": Scope.ADMIN}

    @extend_schema(operation_id="get_node", tags=["nodes"], responses={200: NodeOutput} | ERRORS)
    def get(self, request: Request, name: str) -> Response:
        """One node."""
        query.refuse_unknown(request, ())
        return Response(cluster.represent([cluster.get(name=name)])[0])

    @extend_schema(operation_id="delete_node", tags=["nodes"], responses={204: None} | ERRORS)
    def delete(self, request: Request, name: str) -> Response:
        """Forget a machine that does not come back."""
        query.refuse_unknown(request, ())
        cluster.forget(name=name)
        return Response(status=204)


class NodeDrain(ManagementView):
    @extend_schema(
        operation_id="drain_node",
        tags=["nodes"],
        request=NoInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request, name: str) -> Response:
        """Take a node out of service: its models are loaded on other nodes, then unloaded there, without a failed request.

        Nothing is loaded there from now on. What no other node can have stays, and the job says so.
        """
        query.refuse_unknown(request, ("wait",))
        NoInput(data=request.data).is_valid(raise_exception=True)
        job, created = draining.request_drain(name=name, actor=actor_of(request))
        return answer_with_job(request, job, created=created)


class NodeResume(ManagementView):
    @extend_schema(
        operation_id="resume_node",
        tags=["nodes"],
        request=NoInput,
        responses={200: NodeOutput} | ERRORS,
    )
    def post(self, request: Request, name: str) -> Response:
        """Let models be loaded on a node again."""
        query.refuse_unknown(request, ())
        NoInput(data=request.data).is_valid(raise_exception=True)
        return Response(cluster.represent([draining.resume(name=name)])[0])
