"""Who asks: an API key, or a signed-in member of staff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from models_app.domain.errors import Unauthenticated
from models_app.domain.scopes import Scope
from models_app.services import keys


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """The holder of an API key, in the place of a Django user."""

    name: str
    scopes: frozenset[str]
    is_authenticated: bool = True

    @property
    def pk(self) -> str:
        return self.name


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer noa_…`. A header that is there and wrong is refused, not passed over."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, Any] | None:
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
        return KeyPrincipal(f"key:{key.name}", frozenset(key.scopes)), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


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


def actor_of(request: Request) -> str:
    """How events and jobs name whoever asks."""
    user: Any = request.user
    return user.name if isinstance(user, KeyPrincipal) else f"user:{user.get_username()}"
