"""The rights of members of staff: the same in the console and in the REST API, by their permissions of Django."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models_app.domain import rights
from models_app.domain.scopes import Scope
from models_app.domain.traffic.granting import UNBOUNDED, Bounds

_VIEW = "view_"


def may(*, user: Any, operation: str) -> bool:
    """Whether the user can call the operation of `domain.rights`."""
    if not _is_staff(user):
        return False
    if user.is_superuser:
        return True
    if rights.RIGHTS[operation].staff == rights.ANY:
        return bool(user.get_all_permissions())
    return rights.staff_may(_has(user), operation)


def may_view(*, user: Any, table: str) -> bool:
    """Whether the user can see a table; the permission to change its rows includes that."""
    return _is_staff(user) and _has(user)(f"{_VIEW}{table}")


def scopes(*, user: Any) -> frozenset[str]:
    """The scopes all of whose operations the user can call; superusers have `admin`."""
    if not _is_staff(user):
        return frozenset()
    return frozenset({Scope.ADMIN}) if user.is_superuser else rights.scopes_of_staff(_has(user))


def bounds(*, user: Any) -> Bounds:
    """The most that the user can give to an API key.

    The permission to add keys includes `infer`; the page for Prometheus shows nothing that `read` does not.
    """
    if _is_staff(user) and user.is_superuser:
        return UNBOUNDED
    held = set(scopes(user=user))
    if may(user=user, operation="create_api_key"):
        held.add(Scope.INFER)
        if Scope.READ in held:
            held.add(Scope.METRICS)
    return Bounds(frozenset(held))


def _is_staff(user: Any) -> bool:
    return bool(user is not None and user.is_active and user.is_staff)


def _has(user: Any) -> Callable[[str], bool]:
    def has(codename: str) -> bool:
        if user.has_perm(f"models_app.{codename}"):
            return True
        table = codename.removeprefix(_VIEW)
        return table != codename and bool(user.has_perm(f"models_app.change_{table}"))

    return has
