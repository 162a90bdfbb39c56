"""Capabilities of a model, and their evidence."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of, key_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.capabilities import CapabilitiesOutput, ProbeInput, represent_capabilities
from models_app.api.views.base import ManagementViewSet
from models_app.services.catalog import lookup
from models_app.services.profiling import probing
from models_app.services.registry import capabilities


class CapabilityViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="get_capabilities",
        summary="Get the capabilities of a model",
        tags=["capabilities"],
        responses={200: CapabilitiesOutput} | ERRORS,
    )
    def retrieve(self, request: Request, key: str) -> Response:
        """Each capability of a model with the evidence for and against it."""
        query.refuse_unknown(request, ())
        model = lookup.get(key=key)
        return Response(represent_capabilities(model, capabilities.assess(model=model)))

    @extend_schema(
        operation_id="probe_capabilities",
        summary="Probe the capabilities of a model",
        tags=["capabilities"],
        request=ProbeInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def probe(self, request: Request, key: str) -> Response:
        """Send a loaded model small real requests, and store the results. For a remote model they cost tokens."""
        query.refuse_unknown(request, ("wait",))
        body = self.validated(ProbeInput)
        job, created = probing.request(
            key=key,
            wanted=body["capabilities"],
            effective_context=body["effective_context"],
            actor=actor_of(request),
            key_id=key_of(request),
        )
        return answer_with_job(request, job, created=created)
