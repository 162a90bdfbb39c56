"""The access log."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.access import AccessListOutput, AccessOutput, represent_access
from models_app.api.views.base import ManagementView
from models_app.services.access_log import search
from models_app.services.access_log.search import AccessFilter

_TEXT = query.text_schema()
_STATUS = {"type": "integer", "minimum": 100, "maximum": 599}
_PARAMETERS = [
    OpenApiParameter("model", _TEXT, description="Answered by the model with this key."),
    OpenApiParameter("route", _TEXT, description="Asked for by this route."),
    OpenApiParameter("key", _TEXT, description="Of the API key with this id."),
    OpenApiParameter("status", _STATUS, description="Answered with this HTTP status."),
    OpenApiParameter("error_code", _TEXT, description="Ended with this error."),
    OpenApiParameter("request_id", _TEXT, description="NOA's, or the client's X-Request-ID."),
    OpenApiParameter("stream", bool, description="Streamed, or not."),
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this time."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
    *NEWEST_FIRST,
]
_KNOWN = [parameter.name for parameter in _PARAMETERS]


class AccessList(ManagementView):
    @extend_schema(
        operation_id="list_access_log",
        tags=["statistics"],
        parameters=_PARAMETERS,
        responses={200: AccessListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """Requests through the gateway, newest first."""
        query.refuse_unknown(request, _KNOWN)
        rows = _filter(request).rows()
        return newest_first(request, rows, word="requests", represent=represent_access)


class AccessDetail(ManagementView):
    @extend_schema(operation_id="get_access_log", tags=["statistics"], responses={200: AccessOutput} | ERRORS)
    def get(self, request: Request, request_id: str) -> Response:
        """One request through the gateway, by the id that its answer carried as `X-Request-ID`."""
        query.refuse_unknown(request, ())
        return Response(represent_access(search.get(request_id=request_id)))


def _filter(request: Request) -> AccessFilter:
    return AccessFilter(
        model=query.text(request, "model"),
        route=query.text(request, "route"),
        key=query.text(request, "key"),
        status=query.given_integer(request, "status", low=100, high=599),
        error_code=query.text(request, "error_code"),
        request_id=query.text(request, "request_id"),
        stream=query.flag(request, "stream"),
        since=query.moment(request, "since"),
        until=query.moment(request, "until"),
    )
