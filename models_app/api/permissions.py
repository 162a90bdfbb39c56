"""Default deny: every view needs a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from models_app.api.authentication import scopes_of
from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope, allows

if TYPE_CHECKING:
    # At run time this would be a circle: views import the default permissions.
    from rest_framework.views import APIView


class ScopePermission(BasePermission):
    """Reads need `read`, everything else needs `operate`, unless the view's `scopes` say otherwise."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.user is None or not request.user.is_authenticated:
            raise Unauthenticated("An API key is needed: send 'Authorization: Bearer noa_…'.")
        default = Scope.READ if request.method in SAFE_METHODS else Scope.OPERATE
        needed = getattr(view, "scopes", {}).get(request.method, default)
        if not allows(scopes_of(request.user), needed):
            raise PermissionDenied(
                f"This needs the scope '{needed}', which this key or user has not."
            )
        return True
