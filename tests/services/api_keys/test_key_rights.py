"""Who can give, change and revoke keys, and that one administrator stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models_app.domain.errors import Conflict, PermissionDenied
from models_app.domain.traffic.granting import UNBOUNDED, Bounds
from models_app.models import ApiKey, Event
from models_app.services.api_keys import keys
from tests.services.api_keys.keys import age, created, refusal

pytestmark = pytest.mark.django_db

NARROW = Bounds(frozenset({"read", "infer"}))

Change = Callable[[ApiKey, Bounds], object]
CHANGES: dict[str, Change] = {
    "create": lambda key, giver: keys.create(name="a", scopes=key.scopes, actor="t", giver=giver),
    "change": lambda key, giver: keys.change(key=key, changes={"name": "b"}, actor="t", giver=giver),
    "revoke": lambda key, giver: keys.revoke(key=key, giver=giver),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_keys_within_own_rights_are_given_changed_and_revoked(name: str) -> None:
    key = created("read", "operate")
    count = Event.objects.count()
    error = refusal(lambda: CHANGES[name](key, NARROW), PermissionDenied)
    assert (error.code, error.param) == ("exceeds_own_rights", "scopes")
    assert "'scopes' of this one allows more" in error.message
    assert (ApiKey.objects.count(), Event.objects.count()) == (1, count)
    key.refresh_from_db()
    assert (key.name, key.revoked_at) == ("a key", None)
    for giver in (Bounds(frozenset({"operate"})), UNBOUNDED):
        CHANGES[name](key, giver)


def test_no_change_leads_beyond_own_rights() -> None:
    key = created("read")
    error = refusal(
        lambda: keys.change(key=key, changes={"scopes": ["operate"]}, actor="t", giver=NARROW), PermissionDenied
    )
    assert (error.code, error.param) == ("exceeds_own_rights", "scopes")
    key.refresh_from_db()
    assert key.scopes == ["read"]


def without_admin(key: ApiKey) -> object:
    return keys.change(key=key, changes={"scopes": ["read"]}, actor="t", keep_admin=True)


def revoked(key: ApiKey) -> object:
    return keys.revoke(key=key, keep_admin=True)


@pytest.mark.parametrize("remove", [without_admin, revoked])
def test_the_last_usable_administrator_stays(remove: Callable[[ApiKey], object]) -> None:
    key, _ = created("admin"), created("operate")
    expired, gone = created("admin"), created("admin")
    age(expired)
    keys.revoke(key=gone)
    assert refusal(lambda: remove(key), Conflict).code == "last_admin_key"
    assert keys.usable(pk=key.pk) is not None
    # Keys without the scope, or that have ended, are no administrators.
    remove(created("read"))
    if remove is without_admin:
        remove(expired)
    second = created("infer", "admin")
    remove(key)
    assert refusal(lambda: remove(second), Conflict).code == "last_admin_key"


def test_the_last_administrator_can_keep_the_scope_and_change_the_rest() -> None:
    key = created("admin")
    keys.change(key=key, changes={"name": "new"}, actor="t", keep_admin=True)
    keys.change(key=key, changes={"scopes": ["admin", "read"]}, actor="t", keep_admin=True)
    keys.change(key=key, changes={"scopes": ["read"]}, actor="t")
    assert not ApiKey.objects.filter(scopes__icontains="admin").exists()
    keys.revoke(key=created("admin"))
