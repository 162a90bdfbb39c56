"""Live metrics of models and routes."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.schema import ERRORS
from models_app.api.serializers.metrics import (
    LiveMetricsOutput,
    MetricsSeriesOutput,
    represent_live,
    represent_series,
)
from models_app.api.views.base import ManagementViewSet
from models_app.domain.windows import WINDOWS
from models_app.services.rollups import live_metrics

_TEXT = query.text_schema()
_NAMES = ("model", "route", "window")


def _parameters(default: str) -> list[OpenApiParameter]:
    return [
        OpenApiParameter("model", _TEXT, description="Answered by the model with this key."),
        OpenApiParameter("route", _TEXT, description="Requested by this route."),
        OpenApiParameter("window", str, enum=list(WINDOWS), description=f"By default `{default}`."),
    ]


class MetricsViewSet(ManagementViewSet):
    @extend_schema(
        operation_id="get_live_metrics",
        summary="Get live metrics",
        tags=["statistics"],
        parameters=_parameters("5m"),
        responses={200: LiveMetricsOutput} | ERRORS,
    )
    @action(detail=False, url_name="live-metrics")
    def live(self, request: Request) -> Response:
        """Requests, latency, tokens, errors and cost of the last minutes, hours or days: total, by model, by route."""
        query.refuse_unknown(request, _NAMES)
        found = live_metrics.live(
            window=query.choice(request, "window", WINDOWS) or "5m",
            model=query.text(request, "model"),
            route=query.text(request, "route"),
        )
        return Response(represent_live(found))

    @extend_schema(
        operation_id="get_metrics_series",
        summary="Get metrics as time series",
        tags=["statistics"],
        parameters=_parameters("1h"),
        responses={200: MetricsSeriesOutput} | ERRORS,
    )
    @action(detail=False, url_name="metrics-series")
    def series(self, request: Request) -> Response:
        """The same figures as time series, for charts."""
        query.refuse_unknown(request, _NAMES)
        found = live_metrics.series(
            window=query.choice(request, "window", WINDOWS) or "1h",
            model=query.text(request, "model"),
            route=query.text(request, "route"),
        )
        return Response(represent_series(found))
