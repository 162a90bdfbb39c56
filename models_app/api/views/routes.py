"""Routes: names that applications use as `model`."""

from __future__ import annotations

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import answers, query
from models_app.api.authentication import actor_of, may_evict
from models_app.api.pagination import NewestFirst
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
from models_app.api.views.base import ManagementViewSet
from models_app.models import Route, RouteChange
from models_app.services.lifecycle import commands
from models_app.services.routes import routes, routing


class RouteChangePages(NewestFirst):
    word = "changes"


class RouteViewSet(ManagementViewSet):
    lookup_url_kwarg = "name"

    @extend_schema(
        operation_id="list_routes",
        summary="List routes",
        tags=["routes"],
        responses={200: RouteListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All routes, by name, and their target models."""
        rows = Route.objects.select_related("target")
        return Response({"routes": [represent_route(row) for row in rows]})

    @extend_schema(
        operation_id="create_route",
        summary="Create a route",
        tags=["routes"],
        request=RouteInput,
        responses={201: RouteOutput} | ERRORS,
    )
    def create(self, request: Request) -> Response:
        """Create a route. Its target is a loaded model, or none until the first switch."""
        body = self.validated(RouteInput)
        for key in (body.get("target"), *body.get("fallbacks", ())):
            check_model(request, key=key or "", route=body["name"])
        route = routes.create(**body, actor=actor_of(request))
        location = reverse("api:route", kwargs={"name": route.name})
        return Response(represent_route(route), status=201, headers={"Location": location})

    @extend_schema(
        operation_id="get_route",
        summary="Get a route",
        tags=["routes"],
        responses={200: RouteOutput} | ERRORS,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """One route, by its name."""
        return Response(represent_route(routing.get(name=name)))

    @extend_schema(
        operation_id="update_route",
        summary="Change a route",
        tags=["routes"],
        request=RouteChanges,
        responses={200: RouteOutput} | ERRORS,
    )
    def partial_update(self, request: Request, name: str) -> Response:
        """Change a route. `POST models/switch` changes its target."""
        changes = self.validated(RouteChanges)
        for key in ("", *changes.get("fallbacks", ())):
            check_model(request, key=key, route=name)
        route = routes.change(name=name, changes=changes, actor=actor_of(request))
        return Response(represent_route(route))

    @extend_schema(
        operation_id="delete_route",
        summary="Delete a route",
        tags=["routes"],
        responses={204: None} | ERRORS,
    )
    def destroy(self, request: Request, name: str) -> Response:
        """Delete a route. Its target model stays loaded; `current` always exists."""
        routes.delete(name=name, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(
        operation_id="list_route_changes",
        summary="List changes of a route",
        tags=["routes"],
        responses={200: RouteChangeListOutput} | ERRORS,
    )
    @action(detail=True, url_name="route-changes", pagination_class=RouteChangePages)
    def changes(self, request: Request, name: str) -> Response:
        """The targets of a route so far, newest first."""
        rows = RouteChange.objects.filter(route=routing.get(name=name))
        return self.paginated(rows, routes.represent_change)

    @extend_schema(
        operation_id="roll_back_route",
        summary="Roll back a route",
        tags=["routes"],
        request=None,
        parameters=answers.WAIT,
        responses=answers.JOB_RESPONSES,
    )
    @action(detail=True, methods=["post"], url_name="route-rollback")
    def rollback(self, request: Request, name: str) -> Response:
        """Switch a route to its previous target, without a failed request."""
        query.refuse_unknown(request, ("wait",))
        self.validated(NoInput)
        check_model(request, key="", route=name)
        route = routing.get(name=name)
        key = routes.previous_key(route=route)
        check_model(request, key=key)
        if route.target is not None:
            # The rollback unloads it.
            check_model(request, key=route.target.key)
        job, created = commands.request_switch(
            key=key, route=name, force=True, actor=actor_of(request), may_evict=may_evict(request)
        )
        return answers.answer_with_job(request, job, created=created)
