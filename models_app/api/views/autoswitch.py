"""Auto-switch rules of routes."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.autoswitch import (
    AutoSwitchInput,
    AutoSwitchOutput,
    DecisionOutput,
    represent_auto_switch,
    represent_decision,
)
from models_app.api.views.base import ManagementViewSet
from models_app.services.desired_state import autoswitch


class AutoSwitchViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="get_auto_switch",
        summary="Get the auto-switch rule of a route",
        tags=["routes"],
        responses={200: AutoSwitchOutput} | ERRORS,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """The auto-switch rule of a route, and its last decision."""
        query.refuse_unknown(request, ())
        return Response(represent_auto_switch(autoswitch.get(route=name)))

    @extend_schema(
        operation_id="put_auto_switch",
        summary="Set the auto-switch rule of a route",
        tags=["routes"],
        request=AutoSwitchInput,
        responses={200: AutoSwitchOutput} | ERRORS,
    )
    def update(self, request: Request, name: str) -> Response:
        """Switch a route to the loaded model that performs best, automatically. Omitted fields get their defaults."""
        query.refuse_unknown(request, ())
        rule = self.validated(AutoSwitchInput)
        row = autoswitch.put(route=name, wanted=rule, actor=actor_of(request))
        return Response(represent_auto_switch(row))

    @extend_schema(
        operation_id="delete_auto_switch",
        summary="Delete the auto-switch rule of a route",
        tags=["routes"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, name: str) -> Response:
        """Delete the rule: the route keeps its target until it is switched by hand."""
        query.refuse_unknown(request, ())
        autoswitch.delete(route=name, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(
        operation_id="preview_auto_switch",
        summary="Preview the next auto-switch decision",
        tags=["routes"],
        responses={200: DecisionOutput} | ERRORS,
    )
    def preview(self, request: Request, name: str) -> Response:
        """The present decision with its figures. The route does not move, and confirmations are not counted."""
        query.refuse_unknown(request, ())
        row = autoswitch.get(route=name)
        return Response(represent_decision(autoswitch.decision_of(row=row)))
