"""Routes: the names that applications ask for."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import answers, query
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.permissions import check_model
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.routes import (
    RouteChangeListOutput,
    RouteChanges,
    RouteInput,
    RouteListOutput,
    RouteOutput,
    represent_route,
)
from models_app.api.views.base import ManagementView
from models_app.models import Route, RouteChange
from models_app.services.lifecycle import commands
from models_app.services.routes import routes, routing


class RouteList(ManagementView):
    @extend_schema(operation_id="list_routes", tags=["routes"], responses={200: RouteListOutput} | ERRORS)
    def get(self, request: Request) -> Response:
        """All routes, by name, and the models that they lead to."""
        query.refuse_unknown(request, ())
        rows = Route.objects.select_related("target")
        return Response({"routes": [represent_route(row) for row in rows]})

    @extend_schema(
        operation_id="create_route",
        tags=["routes"],
        request=RouteInput,
        responses={201: RouteOutput} | ERRORS,
    )
    def post(self, request: Request) -> Response:
        """Make a route. It may lead to a loaded model at once, or nowhere until it is switched."""
        body = RouteInput(data=request.data)
        body.is_valid(raise_exception=True)
        wish = body.validated_data
        for key in (wish.get("target"), *wish.get("fallbacks", ())):
            check_model(request, key=key or "", route=wish["name"])
        route = routes.create(**wish, actor=actor_of(request))
        location = reverse("api:route", kwargs={"name": route.name})
        return Response(represent_route(route), status=201, headers={"Location": location})


class RouteDetail(ManagementView):
    @extend_schema(operation_id="get_route", tags=["routes"], responses={200: RouteOutput} | ERRORS)
    def get(self, request: Request, name: str) -> Response:
        """One route, by its name."""
        return Response(represent_route(routing.get(name=name)))

    @extend_schema(
        operation_id="update_route",
        tags=["routes"],
        request=RouteChanges,
        responses={200: RouteOutput} | ERRORS,
    )
    def patch(self, request: Request, name: str) -> Response:
        """Change fallbacks or description. Where it leads is changed by `POST models/switch`."""
        body = RouteChanges(data=request.data)
        body.is_valid(raise_exception=True)
        for key in ("", *body.validated_data.get("fallbacks", ())):
            check_model(request, key=key, route=name)
        route = routes.change(name=name, changes=body.validated_data, actor=actor_of(request))
        return Response(represent_route(route))

    @extend_schema(operation_id="delete_route", tags=["routes"], responses={204: None} | ERRORS)
    def delete(self, request: Request, name: str) -> Response:
        """Delete a route. The model that it led to stays loaded; `current` always exists."""
        check_model(request, key="", route=name)
        routes.delete(name=name, actor=actor_of(request))
        return Response(status=204)


class RouteChangeList(ManagementView):
    @extend_schema(
        operation_id="list_route_changes",
        tags=["routes"],
        parameters=NEWEST_FIRST,
        responses={200: RouteChangeListOutput} | ERRORS,
    )
    def get(self, request: Request, name: str) -> Response:
        """Where a route has led, the newest move first."""
        query.refuse_unknown(request, ("limit", "before"))
        rows = RouteChange.objects.filter(route=routing.get(name=name))
        return newest_first(request, rows, word="changes", represent=routes.represent_change)


class RouteRollback(ManagementView):
    @extend_schema(
        operation_id="roll_back_route",
        tags=["routes"],
        request=None,
        parameters=answers.WAIT,
        responses=answers.JOB_RESPONSES,
    )
    def post(self, request: Request, name: str) -> Response:
        """Switch a route to the model that it led to before, without a failed request."""
        query.refuse_unknown(request, ("wait",))
        NoInput(data=request.data).is_valid(raise_exception=True)
        route = routing.get(name=name)
        key = routes.previous_key(route=route)
        check_model(request, key=key, route=name)
        job, created = commands.request_switch(key=key, route=name, actor=actor_of(request))
        return answers.answer_with_job(request, job, created=created)
