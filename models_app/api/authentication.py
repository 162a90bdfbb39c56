"""The caller: an API key, or a signed-in member of staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework import authentication, exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope
from models_app.models import ApiKey
from models_app.services.api_keys import keys

# As long as the columns that hold a name.
_MAX_ACTOR = 150


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """The owner of an API key, in place of a Django user."""

    key: ApiKey
    is_authenticated: bool = True

    @property
    def name(self) -> str:
        return f"key:{self.key.name}"

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.key.scopes)

    @property
    def pk(self) -> str:
        return self.key.key_id


class ApiKeyAuthentication(BaseAuthentication):
    """Reads `Authorization: Bearer noa_…`. A wrong header is refused, not ignored."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, ApiKey] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Unauthenticated("Send the API key as 'Authorization: Bearer noa_…'.")
        key = keys.find(text=text.strip())
        if key is None:
            raise Unauthenticated(
                "This API key is unknown, has expired or was revoked. "
                "Create one in the console under API keys, or with 'manage.py api_key'."
            )
        return KeyPrincipal(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The console's session. Changes need the CSRF token: a browser sends cookies automatically."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied:
            raise PermissionDenied(
                "Changes by a session need a CSRF token: send the value of the cookie 'csrftoken' in the "
                "header 'X-CSRFToken'. Programs use an API key instead.",
                code="csrf_failed",
            ) from None


def scopes_of(user: Any) -> frozenset[str]:
    """The caller's scopes. Staff have `read`, and `operate` if they can change models; superusers have `admin`."""
    if isinstance(user, KeyPrincipal):
        return user.scopes
    if user is None or not user.is_authenticated or not user.is_staff:
        return frozenset()
    if user.is_superuser:
        return frozenset({Scope.ADMIN})
    if user.has_perm("models_app.change_registeredmodel"):
        return frozenset({Scope.READ, Scope.OPERATE})
    return frozenset({Scope.READ})


def allowed_models_of(request: Request) -> frozenset[str]:
    """The models and routes that the caller can change; empty is everything."""
    user: Any = request.user
    return frozenset(user.key.allowed_models) if isinstance(user, KeyPrincipal) else frozenset()


def actor_of(request: Request) -> str:
    """The caller's name in events and jobs."""
    user: Any = request.user
    name = user.name if isinstance(user, KeyPrincipal) else f"user:{user.get_username()}"
    return name[:_MAX_ACTOR]


def caller_of(request: Request) -> str:
    """A unique id of the caller: two keys can have the same name."""
    user: Any = request.user
    return f"key:{user.pk}" if isinstance(user, KeyPrincipal) else f"user:{user.pk}"
