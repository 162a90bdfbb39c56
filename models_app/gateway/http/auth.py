"""Authentication by API key, looked up by its hash in memory."""

from __future__ import annotations

from collections.abc import Mapping

from models_app.domain.errors import PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope, allows
from models_app.domain.traffic.routing import KeyEntry, hash_api_key

# NOA's keys have about 60 characters. Longer ones are refused before they are hashed.
_MAX_KEY_LENGTH = 512


class UnknownKey(Unauthenticated):
    """A key that is not in the snapshot; it can be newer than the snapshot."""


def authenticate(authorization: bytes | None, keys: Mapping[str, KeyEntry], now: float) -> KeyEntry:
    """The entry of the key in an `Authorization` header. `now` is Unix seconds.

    Raises Unauthenticated when there is no key, when it is malformed, unknown or has expired.
    """
    entry = keys.get(hash_api_key(_bearer(authorization)))
    if entry is None:
        raise UnknownKey("Unknown API key. Check that it was copied completely, or ask an administrator for a new one.")
    if entry.expires_at is not None and entry.expires_at <= now:
        raise Unauthenticated("This API key has expired. Ask an administrator for a new one.", code="expired_api_key")
    return entry


def require(entry: KeyEntry, scope: Scope) -> None:
    """Raises PermissionDenied when the key does not carry `scope`."""
    if not allows(entry.scopes, scope):
        raise PermissionDenied(f"This API key lacks the scope '{scope}'. Ask an administrator for a key that has it.")


def _bearer(authorization: bytes | None) -> str:
    if authorization is None:
        raise Unauthenticated(
            "No API key was sent. Send it in the header 'Authorization: Bearer <key>'.",
            code="missing_api_key",
        )
    scheme, _, key = authorization.partition(b" ")
    key = key.strip()
    if scheme.lower() != b"bearer" or not 0 < len(key) <= _MAX_KEY_LENGTH or b" " in key or b"," in key:
        raise Unauthenticated(
            "The Authorization header is malformed. Send exactly one, in the form 'Authorization: Bearer <key>'."
        )
    return key.decode("latin-1")
