"""The table of rights in `models_app.domain.rights`, applied to keys and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from models_app.api.authentication import KeyPrincipal, allowed_models_of
from models_app.domain import rights
from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.rights import RIGHTS, Binding
from models_app.domain.scopes import Scope, allows, may_use
from models_app.models import Job
from models_app.services.api_keys import staff
from models_app.services.jobs import subjects

# OPTIONS, which describes an address, needs a right to any operation.
_DESCRIBE = "who_am_i"


class RightsPermission(BasePermission):
    """Every operation has a row in the table. A method that an address lacks is answered with 405 before any right."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.user is None or not request.user.is_authenticated:
            raise Unauthenticated("An API key is needed: send 'Authorization: Bearer noa_…'.")
        if view.action is None:
            raise MethodNotAllowed(request.method or "")
        require(request.user, view.operation_id or _DESCRIBE)
        return True


def may(user: Any, operation: str) -> bool:
    """Whether the caller has the right to the operation."""
    if isinstance(user, KeyPrincipal):
        return rights.key_may(user.scopes, operation)
    return staff.may(user=user, operation=operation)


def require(user: Any, operation: str) -> None:
    """Raises PermissionDenied, with the missing scope or permissions, when the caller lacks the right."""
    if may(user, operation):
        return
    right = RIGHTS[operation]
    if isinstance(user, KeyPrincipal):
        raise PermissionDenied(f"This needs an API key with the scope '{right.scope}', which this key does not have.")
    if right.staff is rights.SUPERUSER:
        raise PermissionDenied("This needs a superuser's account.")
    if right.staff == rights.ANY:
        raise PermissionDenied("This needs an account of staff with at least one permission.")
    raise PermissionDenied(
        f"This needs an account with the permissions {', '.join(right.staff)}. An administrator can give them."
    )


def require_admin_fields(request: Request, fields: Mapping[str, Any]) -> None:
    """Raises PermissionDenied for fields of a model that only `admin`, or a superuser, can set."""
    found = sorted(rights.ADMIN_FIELDS & fields.keys())
    user: Any = request.user
    is_admin = allows(user.scopes, Scope.ADMIN) if isinstance(user, KeyPrincipal) else user.is_superuser
    if found and not is_admin:
        raise PermissionDenied(
            f"'{found[0]}' needs the scope 'admin': budgets are counted with it. Omit it, or use another key.",
            param=found[0],
        )


def check_binding(request: Request, operation: str, names: Mapping[str, Any]) -> None:
    """Raises PermissionDenied where the caller's key is bound and the operation concerns more. `names`: the path's."""
    binding = RIGHTS[operation].binding
    if binding is Binding.EVERYTHING:
        require_unbound(request)
    elif binding is Binding.PATH:
        check_model(request, key=names.get("key", ""), route=names.get("name"))


def require_unbound(request: Request) -> None:
    """Raises PermissionDenied when the caller's key is bound to models or routes."""
    if allowed_models_of(request):
        raise PermissionDenied(
            "This concerns all models, and this API key is bound to some. Use a key without 'allowed_models'.",
            code="model_not_allowed",
        )


def check_job(request: Request, job: Job) -> None:
    """Raises PermissionDenied when the job concerns more than the caller's key is bound to."""
    names = subjects.of(job)
    if names is None:
        require_unbound(request)
    for name in names or ():
        check_model(request, key=name)


def check_model(request: Request, *, key: str, route: str | None = None) -> None:
    """Raises PermissionDenied when the caller's key is bound to other models or routes.

    Call it before the model is looked up: the answer is the same for a name that does not exist.
    """
    allowed = allowed_models_of(request)
    refused = next((name for name in (key, route) if name and not may_use(allowed, name)), None)
    if refused is not None:
        raise PermissionDenied(
            f"This API key cannot use '{refused[:80]}': see its 'allowed_models' under GET /api/v1/me.",
            code="model_not_allowed",
        )
