"""The caller: an API key, or a signed-in member of staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from rest_framework import authentication, exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.traffic.granting import Bounds
from models_app.models import ApiKey
from models_app.services.api_keys import keys, staff

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
    """Reads `Authorization: Bearer noa_…`. A wrong header is refused, not ignored.

    A key that is bound to addresses is refused from others here, before any permission is checked.
    """

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
        keys.require_address(key=key, address=client_of(request))
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
    """The caller's scopes. A session has those whose operations its permissions all include."""
    return user.scopes if isinstance(user, KeyPrincipal) else staff.scopes(user=user)


def bounds_of(user: Any) -> Bounds:
    """The most that the caller can give to an API key."""
    return keys.bounds_of(user.key) if isinstance(user, KeyPrincipal) else staff.bounds(user=user)


def client_of(request: HttpRequest | Request) -> str:
    """The client's address, after the trusted proxies; empty on a unix socket."""
    return str(request.META.get("REMOTE_ADDR") or "")


def allowed_models_of(request: Request) -> frozenset[str]:
    """The models and routes that the caller can change; empty is everything."""
    user: Any = request.user
    return frozenset(user.key.allowed_models) if isinstance(user, KeyPrincipal) else frozenset()


def may_evict(request: Request) -> bool:
    """Whether loads of the caller can evict other models."""
    user: Any = request.user
    return user.key.may_evict if isinstance(user, KeyPrincipal) else True


def actor_of(request: Request) -> str:
    """The caller's name in events and jobs."""
    user: Any = request.user
    name = user.name if isinstance(user, KeyPrincipal) else f"user:{user.get_username()}"
    return name[:_MAX_ACTOR]


def key_of(request: Request) -> str:
    """The id of the caller's API key; empty for a user."""
    user: Any = request.user
    return user.pk if isinstance(user, KeyPrincipal) else ""


def caller_of(request: Request) -> str:
    """A unique id of the caller: two keys can have the same name."""
    user: Any = request.user
    return f"key:{user.pk}" if isinstance(user, KeyPrincipal) else f"user:{user.pk}"
