"""Routes that move by themselves."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.permissions import check_model
from models_app.api.schema import ERRORS
from models_app.api.serializers.autoswitch import (
    AutoSwitchInput,
    AutoSwitchOutput,
    DecisionOutput,
    represent_auto_switch,
    represent_decision,
)
from models_app.api.views.base import ManagementView
from models_app.services.desired_state import autoswitch


class RouteAutoSwitch(ManagementView):
    @extend_schema(operation_id="get_auto_switch", tags=["routes"], responses={200: AutoSwitchOutput} | ERRORS)
    def get(self, request: Request, name: str) -> Response:
        """By which rule a route moves by itself, and what was decided last."""
        query.refuse_unknown(request, ())
        return Response(represent_auto_switch(autoswitch.get(route=name)))

    @extend_schema(
        operation_id="put_auto_switch",
        tags=["routes"],
        request=AutoSwitchInput,
        responses={200: AutoSwitchOutput} | ERRORS,
    )
    def put(self, request: Request, name: str) -> Response:
        """Let a route move by itself to the loaded model that performs best. What is left out has its default."""
        query.refuse_unknown(request, ())
        body = AutoSwitchInput(data=request.data)
        body.is_valid(raise_exception=True)
        # It may come to lead to any model: who may use only some has no say in that.
        check_model(request, key="", route=name)
        row = autoswitch.put(route=name, wanted=body.validated_data, actor=actor_of(request))
        return Response(represent_auto_switch(row))

    @extend_schema(operation_id="delete_auto_switch", tags=["routes"], responses={204: None} | ERRORS)
    def delete(self, request: Request, name: str) -> Response:
        """Let a route stay where it is until somebody moves it."""
        query.refuse_unknown(request, ())
        check_model(request, key="", route=name)
        autoswitch.delete(route=name, actor=actor_of(request))
        return Response(status=204)


class RouteAutoSwitchPreview(ManagementView):
    @extend_schema(
        operation_id="preview_auto_switch",
        tags=["routes"],
        responses={200: DecisionOutput} | ERRORS,
    )
    def get(self, request: Request, name: str) -> Response:
        """What would be decided now, with the numbers. Nothing is moved, and nothing is counted."""
        query.refuse_unknown(request, ())
        row = autoswitch.get(route=name)
        return Response(represent_decision(autoswitch.decision_of(row=row)))
