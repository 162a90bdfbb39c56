"""Authentication by API key, looked up by its hash in memory."""

from __future__ import annotations

from collections.abc import Mapping

from models_app.domain.errors import NoaError, PermissionDenied, Unauthenticated
from models_app.domain.scopes import Scope as KeyScope
from models_app.domain.scopes import allows
from models_app.domain.traffic.routing import KeyEntry, Snapshot, hash_api_key
from models_app.gateway.http.types import Scope

# NOA's keys have about 60 characters. Longer ones are refused before they are hashed.
_MAX_KEY_LENGTH = 512


class UnknownKey(Unauthenticated):
    """A key that is not in the snapshot; it can be newer than the snapshot."""


def authenticate(headers: Mapping[bytes, bytes], client: str, keys: Mapping[str, KeyEntry], now: float) -> KeyEntry:
    """The entry of the key in a request's headers. `client` is its address, `now` is Unix seconds.

    Raises Unauthenticated when there is no key, when it is malformed, unknown or has expired, and PermissionDenied when
    it is bound to other addresses. Scopes come after this: `require`.
    """
    entry = keys.get(hash_api_key(_bearer(_authorization(headers))))
    if entry is None:
        raise UnknownKey("Unknown API key. Check that it was copied completely, or ask an administrator for a new one.")
    if entry.expires_at is not None and entry.expires_at <= now:
        raise Unauthenticated("This API key has expired. Ask an administrator for a new one.", code="expired_api_key")
    if entry.limits is not None:
        entry.limits.require_address(client)
    return entry


def client_of(scope: Scope) -> str:
    """The client's address, after the trusted proxies; empty on a unix socket. Django reads the same."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class KeysInUse:
    """Whether the keys of requests in flight are still good. One per process."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._by_id: Mapping[str, KeyEntry] = {}

    def problem(self, snapshot: Snapshot, key_id: str, client: str, now: float) -> NoaError | None:
        """The error that ends a request whose key was revoked, has expired or has lost its right; otherwise None.

        By id: the playground's keys are renewed, and the requests that began before go on.
        """
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._by_id = {entry.key_id: entry for entry in snapshot.keys.values()}
        entry = self._by_id.get(key_id)
        if entry is None or (entry.expires_at is not None and entry.expires_at <= now):
            return Unauthenticated("This API key was revoked, or it expired, during the request, which was ended.")
        try:
            require(entry, KeyScope.INFER)
            if entry.limits is not None:
                entry.limits.require_address(client)
        except PermissionDenied as error:
            return error
        return None


def require(entry: KeyEntry, scope: KeyScope) -> None:
    """Raises PermissionDenied when the key does not carry `scope`."""
    if not allows(entry.scopes, scope):
        raise PermissionDenied(f"This API key lacks the scope '{scope}'. Ask an administrator for a key that has it.")


def has_key(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request sends a key. One that is sent is checked even where none is needed."""
    return _authorization(headers) is not None


def _authorization(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The `Authorization` header, or that of Anthropic's API in the same form."""
    authorization = headers.get(b"authorization")
    if authorization is None and b"x-api-key" in headers:
        return b"Bearer " + headers[b"x-api-key"]
    return authorization


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
