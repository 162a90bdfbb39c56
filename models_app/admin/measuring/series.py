"""Time series for the charts, as JSON from the rollups by minute, hour and day."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET

from models_app.domain.windows import WINDOWS
from models_app.services.api_keys import staff
from models_app.services.rollups import live_metrics
from models_app.services.rollups.live_metrics import Point


@require_GET
def series(request: HttpRequest) -> HttpResponse:
    """GET /admin/series/?window=1h&model=…&route=…: one point for each step, including steps without requests."""
    if not staff.may(user=request.user, operation="get_metrics_series"):
        raise PermissionDenied
    window = request.GET.get("window", "1h")
    if window not in WINDOWS:
        return JsonResponse({"error": f"'window' must be one of {', '.join(WINDOWS)}."}, status=400)
    found = live_metrics.series(
        window=window,
        model=request.GET.get("model") or None,
        route=request.GET.get("route") or None,
    )
    return JsonResponse({"window": found.window, "points": [_point(point) for point in found.points]})


def _point(point: Point) -> dict[str, Any]:
    metrics, seconds = point.metrics, max(point.seconds, 1.0)
    return {
        "at": point.start.isoformat(),
        "answered": round((metrics.requests - metrics.errors) / seconds, 4),
        "errors": round(metrics.errors / seconds, 4),
        "p50": metrics.latency_ms.p50,
        "p95": metrics.latency_ms.p95,
        "ttft_p50": metrics.ttft_ms.p50,
        "ttft_p95": metrics.ttft_ms.p95,
        "speed": metrics.tokens_per_second,
        "tokens": round(metrics.completion_tokens / seconds, 3),
    }
