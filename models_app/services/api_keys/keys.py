"""API keys: creating, finding, changing, revoking."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from models_app.domain.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from models_app.domain.events import EventName
from models_app.domain.keys import ModelKey, canonical_slug, checked_route_name
from models_app.domain.scopes import Scope
from models_app.domain.traffic import limits as rules
from models_app.domain.traffic.granting import UNBOUNDED, Bounds, excess
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import hash_api_key
from models_app.models import Activity, ApiKey
from models_app.services.api_keys import budgets
from models_app.services.events import events
from models_app.services.routes import routing

# A key for more models than this should be one for a provider, or for all.
MAX_ALLOWED_MODELS = 100


class _Found:
    """A cache of keys for one routing revision, which every change of a key increments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = -1
        self._keys: dict[str, ApiKey] = {}

    def get(self, digest: str, revision: int) -> ApiKey | None:
        with self._lock:
            return self._keys.get(digest) if revision == self._revision else None

    def put(self, digest: str, revision: int, key: ApiKey) -> None:
        with self._lock:
            if revision != self._revision:
                self._revision, self._keys = revision, {}
            self._keys[digest] = key


_found = _Found()


@transaction.atomic
def create(
    *,
    name: str,
    scopes: Sequence[str],
    actor: str,
    expires_at: datetime | None = None,
    allowed_models: Sequence[str] = (),
    load_on_demand: bool = True,
    may_evict: bool = True,
    limits: Mapping[str, Any] | None = None,
    giver: Bounds = UNBOUNDED,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is not stored and cannot be read again.

    Raises PermissionDenied for a key that allows more than `giver`, the rights of the key or user that creates it.
    """
    checked = _checked(
        {
            "scopes": scopes,
            "expires_at": expires_at,
            "allowed_models": allowed_models,
            "load_on_demand": load_on_demand,
            "may_evict": may_evict,
            "limits": limits or {},
        }
    )
    key_id = secrets.token_hex(6)
    text = f"noa_{key_id}_{secrets.token_urlsafe(32)}"
    key = ApiKey(key_id=key_id, name=name, digest=hash_api_key(text), created_by=actor, **checked)
    _require_within(key, giver)
    routing.bump()
    key.save(force_insert=True)
    events.publish(
        name=EventName.KEY_CREATED,
        subject=key.key_id,
        message=f"The API key '{key.name}' was created.",
        actor=actor,
        cause="requested",
        after=_payload(key),
    )
    return key, text


def get(*, key_id: str) -> ApiKey:
    key = ApiKey.objects.filter(key_id=key_id).first()
    if key is None:
        raise NotFound(f"There is no API key '{key_id[:32]}'.", code="api_key_not_found", param="key_id")
    return key


def find(*, text: str) -> ApiKey | None:
    """The usable key with this text, shared between callers: do not modify it. One small query for a cached key.

    The lookup is by digest, so that its timing discloses nothing about the secret.
    """
    # Read before the key, so that the cached key is at least as new as its revision.
    revision = routing.revision()
    digest = hash_api_key(text)
    key = _found.get(digest, revision)
    if key is None:
        key = ApiKey.objects.filter(digest=digest, revoked_at=None).first()
        if key is None:
            return None
        _found.put(digest, revision, key)
    return None if _is_expired(key) else key


def usable(*, pk: int) -> ApiKey | None:
    """The current state of the key; None when it has expired or was revoked or deleted."""
    return ApiKey.objects.usable().filter(pk=pk).first()


def bounds_of(key: ApiKey) -> Bounds:
    """The rights of a key, with the default limits where it has none of its own."""
    return Bounds(
        scopes=frozenset(key.scopes),
        allowed_models=frozenset(key.allowed_models),
        limits=rules.effective(key.limits, settings.NOA_KEY_LIMITS) or KeyLimits(),
        expires_at=key.expires_at,
        load_on_demand=key.load_on_demand,
        may_evict=key.may_evict,
    )


def require_address(*, key: ApiKey, address: str) -> None:
    """Raises PermissionDenied when the key is bound to other addresses than the client's."""
    limits = rules.effective(key.limits, settings.NOA_KEY_LIMITS)
    if limits is not None:
        limits.require_address(address)


@transaction.atomic
def change(
    *,
    key: ApiKey,
    changes: Mapping[str, Any],
    actor: str,
    keep_admin: bool = False,
    giver: Bounds = UNBOUNDED,
) -> ApiKey:
    """Change the permissions, name or expiry of a key. Raises Conflict for a revoked key.

    With `keep_admin`, raises Conflict if this would remove `admin` from the last key that has it. Raises
    PermissionDenied when the key allows more than `giver`, before the change or after it.
    """
    routing.bump()
    key = ApiKey.objects.get(pk=key.pk)
    _require_within(key, giver)
    if key.revoked_at is not None:
        raise Conflict(
            f"The key '{key.name}' was revoked, which cannot be undone. Create a new one.",
            code="api_key_revoked",
        )
    before = _payload(key)
    checked = _checked(changes)
    if keep_admin and Scope.ADMIN not in checked.get("scopes", [Scope.ADMIN]):
        _require_another_admin(key)
    for name, value in checked.items():
        setattr(key, name, value)
    _require_within(key, giver)
    key.save(update_fields=list(checked))
    events.publish(
        name=EventName.KEY_CHANGED,
        subject=key.key_id,
        message=f"The API key '{key.name}' was changed.",
        actor=actor,
        cause="requested",
        before=before,
        after=_payload(key),
    )
    return key


@transaction.atomic
def revoke(*, key: ApiKey, actor: str = "", keep_admin: bool = False, giver: Bounds = UNBOUNDED) -> None:
    """Refuse the key from now on, in each process as soon as it has a new snapshot. Idempotent.

    With `keep_admin`, raises Conflict for the last key with `admin`. Raises PermissionDenied when the key allows more
    than `giver`.
    """
    _require_within(key, giver)
    # The first write takes the lock, so that two keys cannot revoke each other concurrently.
    routing.bump()
    if keep_admin:
        _require_another_admin(key)
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        return
    events.publish(
        name=EventName.KEY_REVOKED,
        subject=key.key_id,
        message=f"The API key '{key.name}' was revoked.",
        actor=actor,
        cause="requested",
        before=_payload(key),
    )


def in_state(state: str | None) -> QuerySet[ApiKey]:
    """All keys, or those that are `active`, `expired` or `revoked`."""
    if state == "active":
        return ApiKey.objects.usable()
    if state == "expired":
        return ApiKey.objects.filter(revoked_at=None, expires_at__lte=timezone.now())
    if state == "revoked":
        return ApiKey.objects.exclude(revoked_at=None)
    return ApiKey.objects.all()


def _require_within(key: ApiKey, giver: Bounds) -> None:
    field = excess(bounds_of(key), giver)
    if field is not None:
        raise PermissionDenied(
            f"A key can be given and changed only within one's own rights, and '{field}' of this one allows more. "
            "GET /api/v1/me shows the rights of the caller.",
            code="exceeds_own_rights",
            param=field,
        )


def _require_another_admin(key: ApiKey) -> None:
    usable_keys = list(ApiKey.objects.usable())
    if not any(Scope.ADMIN in other.scopes and other.pk != key.pk for other in usable_keys) and any(
        other.pk == key.pk and Scope.ADMIN in other.scopes for other in usable_keys
    ):
        raise Conflict(
            "This is the last usable key with the scope 'admin'. Create another one first, or use the console.",
            code="last_admin_key",
        )


def _is_expired(key: ApiKey) -> bool:
    return key.expires_at is not None and key.expires_at <= timezone.now()


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in their stored form. Raises InvalidRequest with the name of an invalid field."""
    checked = dict(changes)
    if "scopes" in checked:
        checked["scopes"] = _checked_scopes(checked["scopes"])
    if "allowed_models" in checked:
        checked["allowed_models"] = _checked_names(checked["allowed_models"])
    if "limits" in checked:
        checked["limits"] = rules.checked(checked["limits"])
        budgets.require_exact(checked["limits"])
    expires_at = checked.get("expires_at")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest(
            "'expires_at' must be in the future, or null for a key that does not expire.",
            code="invalid_expiry",
            param="expires_at",
        )
    return checked


def _checked_scopes(scopes: Sequence[str]) -> list[str]:
    unknown = sorted(set(scopes) - {scope.value for scope in Scope})
    if unknown or not scopes:
        raise InvalidRequest(
            f"Scopes must be some of {', '.join(Scope)}" + (f", not {', '.join(unknown)}." if unknown else "."),
            code="invalid_scope",
            param="scopes",
        )
    return [scope.value for scope in Scope if scope in scopes]


def _checked_names(names: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(_checked_name(name) for name in names))
    if len(found) > MAX_ALLOWED_MODELS:
        raise InvalidRequest(
            f"'allowed_models' can hold {MAX_ALLOWED_MODELS} names; '<provider>:*' stands for all of a provider.",
            param="allowed_models",
        )
    return found


def _checked_name(name: str) -> str:
    """A route, a model key or `<provider>:*`, in canonical form. It need not exist yet."""
    try:
        if ":" not in name:
            return checked_route_name(name)
        if name.endswith(":*"):
            return f"{canonical_slug(name[:-2])}:*"
        return str(ModelKey.parse(name))
    except InvalidRequest as error:
        raise InvalidRequest(
            f"'{name[:80]}' is not a route, a model key or '<provider>:*'. {error.message}",
            code="invalid_allowed_model",
            param="allowed_models",
        ) from None


def _payload(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "load_on_demand": key.load_on_demand,
        "may_evict": key.may_evict,
        "limits": key.limits,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
    }


def last_used(keys: Iterable[ApiKey]) -> dict[str, datetime]:
    """The time of each key's last request through the gateway, by key id; unused keys are left out."""
    ids = [key.key_id for key in keys]
    rows = Activity.objects.filter(key_id__in=ids).values_list("key_id").annotate(Max("last_at"))
    return dict(rows)


def state_of(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if _is_expired(key) else "active"
