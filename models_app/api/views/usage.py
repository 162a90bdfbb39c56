"""What one model was used for."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.schema import ERRORS
from models_app.api.serializers.usage import UsageOutput
from models_app.api.views.base import ManagementView
from models_app.domain.periods import Step
from models_app.services.catalog import usage


def period_parameters(usual: str) -> list[OpenApiParameter]:
    return [
        OpenApiParameter("from", OpenApiTypes.DATETIME, description=f"{usual} if not given."),
        OpenApiParameter("to", OpenApiTypes.DATETIME, description="Now if not given."),
    ]


class ModelUsage(ManagementView):
    @extend_schema(
        operation_id="get_model_usage",
        tags=["statistics"],
        parameters=[
            *period_parameters("24 hours before the end, or 30 days by the day,"),
            OpenApiParameter(
                "group_by",
                str,
                enum=list(Step),
                description="`hour` (the default, at most 31 days) or `day` (at most 366); days are those of UTC.",
            ),
        ],
        responses={200: UsageOutput} | ERRORS,
    )
    def get(self, request: Request, key: str) -> Response:
        """How often a model was read and asked, when, by which API keys, at what cost and how fast."""
        query.refuse_unknown(request, ("from", "to", "group_by"))
        step = query.choice(request, "group_by", list(Step))
        found = usage.of_model(
            key=key,
            since=query.moment(request, "from"),
            until=query.moment(request, "to"),
            step=Step(step or Step.HOUR),
        )
        return Response(found)
