"""What a model can do, and why NOA believes it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.answers import JOB_RESPONSES, WAIT, answer_with_job
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.capabilities import (
    CapabilitiesOutput,
    ProbeInput,
    represent_capabilities,
)
from models_app.api.views.base import ManagementView
from models_app.services.catalog import lookup
from models_app.services.profiling import probing
from models_app.services.registry import capabilities


class Capabilities(ManagementView):
    @extend_schema(
        operation_id="get_capabilities",
        tags=["capabilities"],
        responses={200: CapabilitiesOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """Each capability with everything that speaks for or against it."""
        query.refuse_unknown(request, ())
        model = lookup.get(key=key)
        return Response(represent_capabilities(model, capabilities.assess(model=model)))


class CapabilityProbe(ManagementView):
    @extend_schema(
        operation_id="probe_capabilities",
        tags=["capabilities"],
        request=ProbeInput,
        parameters=WAIT,
        responses=JOB_RESPONSES,
    )
    def post(self, request: Request, key: str) -> Response:
        """Ask a loaded model small real requests, and store what it could do. Of a provider's model, it costs tokens."""
        query.refuse_unknown(request, ("wait",))
        body = ProbeInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = probing.request(
            key=key,
            wanted=body.validated_data["capabilities"],
            effective_context=body.validated_data["effective_context"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)
