"""Permission classes: every operation requires a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from models_app.api.authentication import allowed_models_of, scopes_of
from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope, allows, may_use

if TYPE_CHECKING:
    # At run time this would be a circle: rest_framework.views imports the default permissions.
    from rest_framework.views import APIView


class ScopePermission(BasePermission):
    """Reads need the scope `read`, everything else needs `operate`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.user is None or not request.user.is_authenticated:
            raise Unauthenticated("An API key is needed: send 'Authorization: Bearer noa_…'.")
        granted = scopes_of(request.user)
        needed = self.needed_scope(request.method or "")
        if needed is None and not granted:
            raise PermissionDenied("This needs an API key with a scope, or a member of staff.")
        if needed is not None and not allows(granted, needed):
            raise PermissionDenied(f"This needs the scope '{needed}', which this key or user does not have.")
        return True

    def needed_scope(self, method: str) -> Scope | None:
        """The scope that the method requires; None when any scope is enough."""
        return Scope.READ if method in SAFE_METHODS else Scope.OPERATE


class AdminPermission(ScopePermission):
    """Reads need `admin` too."""

    def needed_scope(self, method: str) -> Scope | None:
        return Scope.ADMIN


class AdminToChangePermission(ScopePermission):
    """Reads need `read`, everything else needs `admin`."""

    def needed_scope(self, method: str) -> Scope | None:
        return Scope.READ if method in SAFE_METHODS else Scope.ADMIN


class AdminToDeletePermission(ScopePermission):
    """Only DELETE needs `admin`."""

    def needed_scope(self, method: str) -> Scope | None:
        return Scope.ADMIN if method == "DELETE" else super().needed_scope(method)


class AnyScopePermission(ScopePermission):
    """Any API key with a scope, and any member of staff, can read."""

    def needed_scope(self, method: str) -> Scope | None:
        return None if method in SAFE_METHODS else Scope.OPERATE


def check_model(request: Request, *, key: str, route: str | None = None) -> None:
    """Raises PermissionDenied when the caller's key is bound to other models or routes."""
    allowed = allowed_models_of(request)
    refused = next((name for name in (key, route) if name and not may_use(allowed, name)), None)
    if refused is not None:
        raise PermissionDenied(
            f"This API key cannot use '{refused[:80]}': see its 'allowed_models' under GET /api/v1/me.",
            code="model_not_allowed",
        )
