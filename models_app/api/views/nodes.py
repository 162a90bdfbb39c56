"""Nodes: the machines that own runners."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.nodes import NodeListOutput, NodeOutput
from models_app.api.views.base import ManagementViewSet
from models_app.models import Node
from models_app.services.lifecycle import draining
from models_app.services.nodes import cluster


class NodeViewSet(ManagementViewSet):
    lookup_url_kwarg = "name"

    @extend_schema(
        operation_id="list_nodes",
        summary="List nodes",
        tags=["nodes"],
        responses={200: NodeListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All nodes, with their resources and loaded models."""
        return Response({"nodes": cluster.represent([*Node.objects.all()])})

    @extend_schema(
        operation_id="get_node",
        summary="Get a node",
        tags=["nodes"],
        responses={200: NodeOutput} | ERRORS,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """One node."""
        query.refuse_unknown(request, ())
        return Response(cluster.represent([cluster.get(name=name)])[0])

    @extend_schema(
        operation_id="delete_node",
        summary="Delete a node",
        tags=["nodes"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, name: str) -> Response:
        """Remove a node that does not come back."""
        query.refuse_unknown(request, ())
        cluster.forget(name=name)
        return Response(status=204)

    @extend_schema(
        operation_id="drain_node",
        summary="Drain a node",
        tags=["nodes"],
        request=NoInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    @action(detail=True, methods=["post"], url_name="node-drain")
    def drain(self, request: Request, name: str) -> Response:
        """Take a node out of service: load its models on other nodes, then unload them there, without a failed request.

        No model is loaded there any more. A model that no other node can load stays, and the job lists it.
        """
        query.refuse_unknown(request, ("wait",))
        self.validated(NoInput)
        job, created = draining.request_drain(name=name, actor=actor_of(request))
        return answer_with_job(request, job, created=created)

    @extend_schema(
        operation_id="resume_node",
        summary="Resume a node",
        tags=["nodes"],
        request=NoInput,
        responses={200: NodeOutput} | ERRORS,
    )
    @action(detail=True, methods=["post"], url_name="node-resume")
    def resume(self, request: Request, name: str) -> Response:
        """Allow models to be loaded on a node again."""
        query.refuse_unknown(request, ())
        self.validated(NoInput)
        return Response(cluster.represent([draining.resume(name=name)])[0])
