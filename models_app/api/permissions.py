"""Default deny: every view needs a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from models_app.api.authentication import allowed_models_of, scopes_of
from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope, allows, may_use

if TYPE_CHECKING:
    # At run time this would be a circle: views import the default permissions.
    from rest_framework.views import APIView


class ScopePermission(BasePermission):
    """Reads need `read`, everything else needs `operate`, unless the view's `scopes` say otherwise.

    None there means: whoever has a scope at all.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.user is None or not request.user.is_authenticated:
            raise Unauthenticated("An API key is needed: send 'Authorization: Bearer noa_…'.")
        granted = scopes_of(request.user)
        needed = needed_scope(view, request.method or "")
        if needed is None and not granted:
            raise PermissionDenied("Only keys and members of staff may ask this.")
        if needed is not None and not allows(granted, needed):
            raise PermissionDenied(f"This needs the scope '{needed}', which this key or user has not.")
        return True


def needed_scope(view: APIView, method: str) -> Scope | None:
    default = Scope.READ if method in SAFE_METHODS else Scope.OPERATE
    scopes: dict[str, Scope | None] = getattr(view, "scopes", {})
    # DRF's own answer to OPTIONS, and HEAD, tell what GET does.
    if method in ("HEAD", "OPTIONS"):
        method = "GET"
    return scopes.get(method, default)


def check_model(request: Request, *, key: str, route: str | None = None) -> None:
    """Raises PermissionDenied when the key of whoever asks is bound to other models or routes."""
    allowed = allowed_models_of(request)
    refused = next((name for name in (key, route) if name and not may_use(allowed, name)), None)
    if refused is not None:
        raise PermissionDenied(
            f"This API key is bound to other models than '{refused[:80]}': see 'allowed_models' under GET /api/v1/me.",
            code="model_not_allowed",
        )
