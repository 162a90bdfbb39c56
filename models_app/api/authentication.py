"""Who asks: an API key, or a signed-in member of staff."""

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
    """The holder of an API key, in the place of a Django user."""

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
    """`Authorization: Bearer noa_…`. A header that is there and wrong is refused, not passed over."""

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
                "This API key is not known, has expired or was revoked. "
                "Make one in the console under API keys, or with 'manage.py api_key'."
            )
        return KeyPrincipal(key), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The console's session. What changes something needs the CSRF token: a browser sends cookies by itself."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied:
            raise PermissionDenied(
                "A session changes things only with a CSRF token: send the value of the cookie 'csrftoken' in the "
                "header 'X-CSRFToken'. Programs use an API key instead.",
                code="csrf_failed",
            ) from None


def scopes_of(user: Any) -> frozenset[str]:
    """The scopes of whoever asks; staff may read, and operate with the right to change models."""
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
    """What whoever asks may change; empty is everything."""
    user: Any = request.user
    return frozenset(user.key.allowed_models) if isinstance(user, KeyPrincipal) else frozenset()


def actor_of(request: Request) -> str:
    """How events and jobs name whoever asks."""
    user: Any = request.user
    name = user.name if isinstance(user, KeyPrincipal) else f"user:{user.get_username()}"
    return name[:_MAX_ACTOR]


def caller_of(request: Request) -> str:
    """Tells callers apart: names of keys may be given twice."""
    user: Any = request.user
    return f"key:{user.pk}" if isinstance(user, KeyPrincipal) else f"user:{user.pk}"
