"""The playground: chat with a model or a route. The page calls the gateway with a short-lived key of the user."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from models_app.admin.parts import actions, badges, units
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.states import ModelStatus
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import AccessLog, RegisteredModel, Route
from models_app.services.api_keys import playground, staff

# A longer menu is unusable; the pages of the other models have a link to the playground.
_MODELS_SHOWN = 300


def may_chat(request: HttpRequest) -> bool:
    """Whether the user can use the playground: the permission to operate models includes it."""
    return staff.may(user=request.user, operation="load_model")


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """GET /admin/playground/?model=…&second=…: the names that are selected first."""
    _require(request)
    first = request.GET.get("model", "")[:255]
    second = request.GET.get("second", "")[:255]
    routes, loaded, others = _choices()
    known = {name for name, _ in [*routes, *loaded, *others]}
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "groups": [("Routes", routes), ("Loaded models", loaded), ("Other models", others)],
        "extra": [name for name in (first, second) if name and name not in known],
        "first": first or (routes or loaded or others or [("", "")])[0][0],
        "second": second,
        "is_empty": not known,
    }
    return TemplateResponse(request, "admin/noa/playground.html", context)


def _choices() -> tuple[list[Any], list[Any], list[Any]]:
    """Names and labels of routes, of loaded models, and of the other models."""
    routes = [
        (name, f"{name} → {key or 'nothing'}")
        for name, key in Route.objects.order_by("name").values_list("name", "target__key")
    ]
    routes.sort(key=lambda choice: choice[0] != CURRENT_ROUTE)
    answers = Q(capability_index__contains=f",{Capability.CHAT_COMPLETION},")
    models = RegisteredModel.objects.filter(answers, gone_at=None).order_by("key")
    loaded = models.filter(status=ModelStatus.LOADED).values_list("key", flat=True)
    others = models.exclude(status=ModelStatus.LOADED).values_list("key", flat=True)
    return routes, [(key, key) for key in loaded], [(key, key) for key in others[:_MODELS_SHOWN]]


@require_POST
def key(request: HttpRequest) -> HttpResponse:
    """POST /admin/playground/key/: the key for /v1 and its expiry. Only the page stores it."""
    _require(request)
    user: Any = request.user
    made, text, is_new = playground.key_for(user_id=user.pk, username=user.get_username())
    if is_new:
        actions.record_audit(request, "renew_playground_key", subject=made.key_id, status=200)
    return JsonResponse({"key": text, "expires_at": made.expires_at})


@require_GET
def record(request: HttpRequest) -> HttpResponse:
    """GET /admin/playground/record/?request_id=…: figures of an answer from the access log; 204 until it has a row."""
    _require(request)
    sent = request.GET.get("request_id", "")[:64]
    row = AccessLog.objects.filter(client_request_id=sent).order_by("-id").first() if sent else None
    if row is None:
        return HttpResponse(status=204)
    may_view = staff.may(user=request.user, operation="get_access_log")
    return JsonResponse(
        {
            "url": reverse("admin:models_app_accesslog_change", args=[row.pk]) if may_view else None,
            "model": row.model_key,
            "first_token": units.milliseconds(row.ttft_ms),
            "duration": units.milliseconds(row.duration_ms),
            "speed": units.speed(badges.speed_of(row)),
            "cost": "no price known" if row.cost_usd is None else units.dollars(row.cost_usd),
            "tokens": units.count(row.completion_tokens),
        }
    )


def _require(request: HttpRequest) -> None:
    if not may_chat(request):
        raise PermissionDenied
