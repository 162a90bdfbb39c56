"""Events: lists, single events, and the stream."""

from __future__ import annotations

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.authentication import caller_of
from models_app.api.event_streams import EventStreamRenderer, EventStreamResponse, permit_of
from models_app.api.filtersets import EVENT_ID, EventFilters
from models_app.api.pagination import NewestFirst
from models_app.api.renderers import OrjsonRenderer
from models_app.api.schema import ERRORS
from models_app.api.serializers.errors import ErrorOutput
from models_app.api.serializers.events import EventListOutput, EventOutput
from models_app.api.views.base import ManagementViewSet
from models_app.domain.errors import InvalidRequest
from models_app.models import Event
from models_app.services.events import events
from models_app.services.events.event_stream import hub

# A stream has no end, so times and pages do not apply.
_OF_STREAMS = ("name", "subject", "actor", "job", "last_event_id")

_HEADER = OpenApiParameter(
    "Last-Event-ID",
    EVENT_ID,
    OpenApiParameter.HEADER,
    description="Like `last_event_id`, and takes precedence. Browsers send it automatically.",
)
_STREAM = "With `Accept: text/event-stream`: `id`, `event` (the name) and `data` (the event as JSON)."
_RESPONSES: dict[Any, Any] = {
    (200, "application/json"): EventListOutput,
    (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description=_STREAM),
    **{(status, "application/json"): answer for status, answer in ERRORS.items()},
    (503, "application/json"): OpenApiResponse(
        ErrorOutput, description="Too many streams are open, or the server is stopping."
    ),
}


class EventPages(NewestFirst):
    word = "events"


class EventViewSet(ManagementViewSet):
    filterset_class = EventFilters
    pagination_class = EventPages
    lookup_url_kwarg = "event_id"
    lookup_value_converter = "int"

    def get_renderers(self) -> Any:
        """A list can be streamed too."""
        return [OrjsonRenderer(), EventStreamRenderer()] if self.action == "list" else super().get_renderers()

    def known_parameters(self) -> Any:
        return _OF_STREAMS if _is_stream(self.request) else super().known_parameters()

    @extend_schema(
        operation_id="list_events",
        summary="List or stream events",
        tags=["events"],
        parameters=[_HEADER],
        responses=_RESPONSES,
    )
    def list(self, request: Request) -> HttpResponseBase:
        """Events, newest first; with `Accept: text/event-stream`, a stream of new events.

        After a disconnect a stream is resumed with the id of the last event that was read: none is missed or repeated.
        """
        if _is_stream(request):
            return _stream(request)
        return self.paginated(Event.objects.all(), events.represent)

    @extend_schema(
        operation_id="get_event",
        summary="Get an event",
        tags=["events"],
        responses={200: EventOutput} | ERRORS,
    )
    def retrieve(self, request: Request, event_id: int) -> Response:
        """One event, by its id."""
        query.refuse_unknown(request, ())
        return Response(events.represent(events.get(event_id=event_id)))

    def handle_exception(self, exc: Exception) -> Response:
        """An error is JSON, also where a stream was requested."""
        self.request.accepted_renderer = OrjsonRenderer()
        self.request.accepted_media_type = OrjsonRenderer.media_type
        return super().handle_exception(exc)


def _is_stream(request: Request) -> bool:
    return isinstance(request.accepted_renderer, EventStreamRenderer)


def _stream(request: Request) -> EventStreamResponse:
    filters = EventFilters(request.query_params, Event.objects.all(), request=request)
    chosen = filters.chosen
    place: int | None = filters.values["last_event_id"]
    newest = events.newest_id()
    if place is not None and place > newest:
        raise InvalidRequest(
            f"There is no event {place} yet; the newest is {newest}. Omit 'Last-Event-ID' to begin with the next one.",
            code="unknown_event",
            param="last_event_id",
        )
    owner = caller_of(request)
    hub.check_room(owner)
    return EventStreamResponse(
        wanted=chosen,
        place=newest if place is None else place,
        still_allowed=permit_of(request),
        owner=owner,
    )
