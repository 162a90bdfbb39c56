"""The numbers of the whole server."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.schema import ERRORS
from models_app.api.serializers.usage import StatisticsOutput
from models_app.api.views.base import ManagementView
from models_app.api.views.usage import period_parameters
from models_app.services.reporting import statistics

_LONGEST = 100


class Statistics(ManagementView):
    @extend_schema(
        operation_id="get_statistics",
        tags=["statistics"],
        parameters=[
            *period_parameters("24 hours before the end"),
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": _LONGEST, "default": 5},
                description="The length of each list.",
            ),
        ],
        responses={200: StatisticsOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """What is registered, how it was used in a period of at most 31 days, and what needs a look."""
        query.refuse_unknown(request, ("from", "to", "limit"))
        found = statistics.overview(
            since=query.moment(request, "from"),
            until=query.moment(request, "to"),
            limit=query.integer(request, "limit", default=5, low=1, high=_LONGEST),
        )
        return Response(found)
