"""Events: listed, read one by one, and streamed as they happen."""

from __future__ import annotations

import uuid
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.event_streams import EventStreamRenderer, EventStreamResponse, permit_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.renderers import OrjsonRenderer
from models_app.api.schema import ERRORS
from models_app.api.serializers.errors import ErrorOutput
from models_app.api.serializers.events import EventListOutput, EventOutput
from models_app.api.views.base import ManagementView
from models_app.domain.errors import InvalidRequest
from models_app.domain.events import EventName
from models_app.services.events import events
from models_app.services.events.event_stream import hub
from models_app.services.events.events import EventFilter

# Ids are 64-bit numbers in every database.
_MAX_ID = 2**63 - 1
_CHOOSING = ("name", "subject", "actor", "job", "last_event_id")
_PAGING = ("since", "until", "limit", "before")

_ID = {"type": "integer", "minimum": 0, "maximum": _MAX_ID}
_TEXT = query.text_schema()
_PARAMETERS = [
    OpenApiParameter("name", str, many=True, enum=list(EventName), description="Of these names; repeatable."),
    OpenApiParameter("subject", _TEXT, description="About this model key, route or provider."),
    OpenApiParameter("actor", _TEXT, description="Asked for by this user, key or part of NOA."),
    OpenApiParameter("job", OpenApiTypes.UUID, description="Of this job."),
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this time."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
    OpenApiParameter(
        "last_event_id",
        _ID,
        description="Only what follows this event. A stream begins there.",
    ),
    OpenApiParameter(
        "Last-Event-ID",
        _ID,
        OpenApiParameter.HEADER,
        description="As `last_event_id`, and goes before it. Browsers send it by themselves.",
    ),
    *NEWEST_FIRST,
]
_STREAM = "With `Accept: text/event-stream`: `id`, `event` (the name) and `data` (the event as JSON)."
_RESPONSES: dict[Any, Any] = {
    (200, "application/json"): EventListOutput,
    (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description=_STREAM),
    **{(status, "application/json"): answer for status, answer in ERRORS.items()},
    (503, "application/json"): OpenApiResponse(
        ErrorOutput, description="Too many streams are open, or the server is stopping."
    ),
}


class EventList(ManagementView):
    renderer_classes: list[type[BaseRenderer]] = [OrjsonRenderer, EventStreamRenderer]

    @extend_schema(operation_id="list_events", tags=["events"], parameters=_PARAMETERS, responses=_RESPONSES)
    def get(self, request: Request) -> HttpResponseBase:
        """What happened, newest first; with `Accept: text/event-stream`, what happens, as it happens.

        A stream that ends is resumed with the id of the last event that was read: no event is missed, none comes twice.
        """
        if isinstance(request.accepted_renderer, EventStreamRenderer):
            return _stream(request)
        query.refuse_unknown(request, (*_CHOOSING, *_PAGING))
        rows = _filter(request).rows()
        if since := query.moment(request, "since"):
            rows = rows.filter(created_at__gte=since)
        if until := query.moment(request, "until"):
            rows = rows.filter(created_at__lt=until)
        place = _place(request)
        if place is not None:
            rows = rows.filter(pk__gt=place)
        return newest_first(request, rows, word="events", represent=events.represent)

    def handle_exception(self, exc: Exception) -> Response:
        """An error is JSON, whatever was asked for: a stream that does not begin is no stream."""
        self.request.accepted_renderer = OrjsonRenderer()
        self.request.accepted_media_type = OrjsonRenderer.media_type
        return super().handle_exception(exc)


class EventDetail(ManagementView):
    @extend_schema(operation_id="get_event", tags=["events"], responses={200: EventOutput} | ERRORS)
    def get(self, request: Request, event_id: int) -> Response:
        """One event, by its id."""
        query.refuse_unknown(request, ())
        return Response(events.represent(events.get(event_id=event_id)))


def _stream(request: Request) -> EventStreamResponse:
    query.refuse_unknown(request, _CHOOSING)
    wanted = _filter(request)
    place = _place(request)
    newest = events.newest_id()
    if place is not None and place > newest:
        raise InvalidRequest(
            f"There is no event {place} yet; the newest is {newest}. Leave 'Last-Event-ID' out to begin with what"
            " happens from now on.",
            code="unknown_event",
            param="last_event_id",
        )
    hub.check_room()
    return EventStreamResponse(
        wanted=wanted,
        place=newest if place is None else place,
        still_allowed=permit_of(request),
    )


def _filter(request: Request) -> EventFilter:
    names = request.query_params.getlist("name")
    for name in names:
        if name not in set(EventName):
            raise InvalidRequest(f"There is no event '{name[:80]}'. Known: {', '.join(EventName)}.", param="name")
    return EventFilter(
        names=frozenset(names),
        subject=query.text(request, "subject"),
        actor=query.text(request, "actor"),
        job_id=_job(request),
    )


def _job(request: Request) -> uuid.UUID | None:
    text = request.query_params.get("job")
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise InvalidRequest("'job' must be the id of a job.", param="job") from None


def _place(request: Request) -> int | None:
    """After which event to begin; None when nothing was said."""
    by_query = _event_id(request.query_params.get("last_event_id"))
    by_header = _event_id(request.headers.get("Last-Event-ID"))
    return by_query if by_header is None else by_header


def _event_id(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _MAX_ID:
        raise InvalidRequest("'Last-Event-ID' must be the id of an event.", param="last_event_id")
    return int(text)
