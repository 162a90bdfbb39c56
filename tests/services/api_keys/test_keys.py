"""API keys: what is stored, what is found, and who can change what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from models_app.domain.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from models_app.domain.keys import checked_model_id
from models_app.domain.scopes import Scope
from models_app.domain.traffic.granting import Bounds
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import hash_api_key
from models_app.models import Activity, ApiKey, Event
from models_app.services.api_keys import keys
from models_app.services.routes import routing
from tests.services.api_keys.keys import age, created, refusal

pytestmark = pytest.mark.django_db

LATER = datetime(2999, 1, 1, 12, tzinfo=UTC)


def test_a_new_key_is_stored_with_its_fields_and_without_its_text() -> None:
    key, text = keys.create(
        name="ci",
        scopes=["operate", "read", "read"],
        actor="key:test",
        expires_at=LATER,
        allowed_models=["current", "claude:*", "llama.cpp:a", "current"],
        load_on_demand=False,
        may_evict=False,
        limits={"requests_per_minute": 5, "addresses": ["10.1.2.3/8"]},
    )
    assert re.fullmatch(rf"noa_{key.key_id}_[\w-]{{43}}", text)
    assert re.fullmatch(r"[0-9a-f]{12}", key.key_id)
    key.refresh_from_db()
    assert key.digest == hash_api_key(text)
    assert (key.name, key.created_by, key.revoked_at) == ("ci", "key:test", None)
    stored = {
        "name": "ci",
        "scopes": ["read", "operate"],
        "allowed_models": ["current", "anthropic:*", "llama.cpp:a"],
        "load_on_demand": False,
        "may_evict": False,
        "limits": {"requests_per_minute": 5, "addresses": ["10.0.0.0/8"]},
        "expires_at": LATER.isoformat(),
    }
    assert {name: getattr(key, name) for name in stored} == stored | {"expires_at": LATER}
    event = Event.objects.get()
    assert (event.name, event.subject, event.actor, event.cause) == ("key-created", key.key_id, "key:test", "requested")
    assert (event.message, event.after) == ("The API key 'ci' was created.", stored)


def test_a_new_key_has_no_restriction_unless_one_is_given() -> None:
    key = created("infer")
    key.refresh_from_db()
    assert (key.expires_at, key.allowed_models, key.limits) == (None, [], {})
    assert (key.load_on_demand, key.may_evict) == (True, True)
    assert Event.objects.get().after["expires_at"] is None


def test_two_keys_have_different_texts() -> None:
    texts = {keys.create(name="a", scopes=["read"], actor="t")[1] for _ in range(3)}
    assert len(texts) == len({text.split("_")[1] for text in texts}) == 3


def test_a_key_is_read_by_its_id() -> None:
    key = created()
    created()
    assert keys.get(key_id=key.key_id) == key
    error = refusal(lambda: keys.get(key_id="x" * 40), NotFound)
    assert (error.code, error.param) == ("api_key_not_found", "key_id")
    assert error.message == f"There is no API key '{'x' * 32}'."


def test_a_key_is_found_by_its_whole_text() -> None:
    key, text = keys.create(name="a", scopes=["read"], actor="t")
    other, other_text = keys.create(name="b", scopes=["read"], actor="t")
    assert (keys.find(text=text), keys.find(text=other_text)) == (key, other)
    assert (keys.find(text=text), keys.find(text=other_text)) == (key, other)
    for wrong in (text[:-1], text + "x", text.upper(), key.key_id, key.digest, ""):
        assert keys.find(text=wrong) is None


def test_a_key_that_was_found_is_not_read_again_until_a_key_changes() -> None:
    key, text = keys.create(name="a", scopes=["read"], actor="t")
    other, other_text = keys.create(name="b", scopes=["read"], actor="t")
    for search in (text, other_text):
        keys.find(text=search)
    with CaptureQueriesContext(connection) as queries:
        assert [keys.find(text=text), keys.find(text=other_text)] == [key, other]
    assert not [query for query in queries if "apikey" in query["sql"]]
    keys.change(key=key, changes={"scopes": ["infer"]}, actor="t")
    found = keys.find(text=text)
    assert found is not None and found.scopes == ["infer"]
    assert keys.find(text=other_text) == other


def test_a_key_is_not_found_after_it_was_revoked_or_has_expired() -> None:
    key, text = keys.create(name="a", scopes=["read"], actor="t")
    assert keys.find(text=text) == key
    keys.revoke(key=key)
    assert keys.find(text=text) is None
    key, text = keys.create(name="b", scopes=["read"], actor="t")
    assert keys.find(text=text) == key
    age(key)
    assert keys.find(text=text) is None


def test_a_key_that_is_in_memory_expires_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = keys.create(name="a", scopes=["read"], actor="t", expires_at=LATER)
    assert keys.find(text=text) == key
    for moment, expected in ((LATER - timedelta(microseconds=1), key), (LATER, None), (LATER + timedelta(1), None)):
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        assert keys.find(text=text) == expected


def test_a_usable_key_is_one_that_is_neither_revoked_nor_expired() -> None:
    active, expired, revoked = created(), created(), created()
    age(expired)
    keys.revoke(key=revoked)
    assert [keys.usable(pk=key.pk) for key in (active, expired, revoked)] == [active, None, None]
    revoked.refresh_from_db()
    assert [keys.state_of(key) for key in (active, expired, revoked)] == ["active", "expired", "revoked"]
    age(revoked)
    assert keys.state_of(revoked) == "revoked"
    states = {state: {key.pk for key in keys.in_state(state)} for state in ("active", "expired", "revoked", None)}
    assert states == {
        "active": {active.pk},
        "expired": {expired.pk},
        "revoked": {revoked.pk},
        None: {active.pk, expired.pk, revoked.pk},
    }


def test_a_key_expires_at_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    key = created(expires_at=LATER)
    for moment, state in ((LATER - timedelta(microseconds=1), "active"), (LATER, "expired")):
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        assert keys.state_of(key) == state
        assert keys.in_state(state).filter(pk=key.pk).exists()


def test_the_rights_of_a_key_include_the_default_limits(settings: Any) -> None:
    settings.NOA_KEY_LIMITS = {"max_concurrent": 3, "requests_per_minute": 9}
    key = created(
        "infer",
        "read",
        allowed_models=["current"],
        limits={"requests_per_minute": 0},
        expires_at=LATER,
        load_on_demand=False,
    )
    assert keys.bounds_of(key) == Bounds(
        scopes=frozenset({"infer", "read"}),
        allowed_models=frozenset({"current"}),
        limits=KeyLimits(max_concurrent=3),
        expires_at=LATER,
        load_on_demand=False,
        may_evict=True,
    )
    settings.NOA_KEY_LIMITS = {}
    assert keys.bounds_of(created("admin", may_evict=False)) == Bounds(frozenset({"admin"}), may_evict=False)


def test_a_key_is_bound_to_its_addresses_or_those_of_the_default(settings: Any) -> None:
    plain, own = created(), created(limits={"addresses": ["192.0.2.0/24"]})
    keys.require_address(key=plain, address="203.0.113.1")
    settings.NOA_KEY_LIMITS = {"addresses": ["10.0.0.0/8"]}
    for key, good, bad in ((plain, "10.0.0.1", "192.0.2.1"), (own, "192.0.2.1", "10.0.0.1")):
        keys.require_address(key=key, address=good)
        assert refusal(partial(keys.require_address, key=key, address=bad), PermissionDenied).code == (
            "address_not_allowed"
        )


def test_a_change_is_stored_and_reported_with_the_values_before() -> None:
    key = created("read", name="old", limits={"max_concurrent": 1})
    stale = ApiKey.objects.get(pk=key.pk)
    revision = routing.revision()
    changed = keys.change(
        key=stale, changes={"name": "new", "scopes": ["infer"], "limits": {}, "expires_at": LATER}, actor="user:a"
    )
    assert routing.revision() > revision
    key.refresh_from_db()
    assert changed == key
    assert (key.name, key.scopes, key.limits, key.expires_at) == ("new", ["infer"], {}, LATER)
    assert (changed.name, changed.scopes) == ("new", ["infer"])
    event = Event.objects.get(name="key-changed")
    assert (event.subject, event.actor, event.cause) == (key.key_id, "user:a", "requested")
    assert event.message == "The API key 'new' was changed."
    before, after = event.before, event.after
    assert (before["name"], before["scopes"], before["limits"]) == ("old", ["read"], {"max_concurrent": 1})
    assert (after["name"], after["scopes"], after["expires_at"]) == ("new", ["infer"], LATER.isoformat())


def test_a_change_of_one_field_keeps_what_others_changed() -> None:
    key = created("read", name="old")
    stale = ApiKey.objects.get(pk=key.pk)
    keys.change(key=key, changes={"scopes": ["infer"]}, actor="t")
    keys.change(key=stale, changes={"name": "new"}, actor="t")
    key.refresh_from_db()
    assert (key.name, key.scopes) == ("new", ["infer"])


def test_a_revoked_key_cannot_be_changed() -> None:
    key = created(name="gone")
    keys.revoke(key=key)
    error = refusal(lambda: keys.change(key=key, changes={"name": "back"}, actor="t"), Conflict)
    assert error.code == "api_key_revoked"
    assert error.message.startswith("The key 'gone' was revoked, which cannot be undone.")
    assert not Event.objects.filter(name="key-changed").exists()


def test_a_key_is_revoked_once() -> None:
    key, other = created(name="gone"), created()
    revision = routing.revision()
    keys.revoke(key=key, actor="user:a")
    assert routing.revision() > revision
    revoked_at = ApiKey.objects.get(pk=key.pk).revoked_at
    assert revoked_at is not None and timezone.now() - revoked_at < timedelta(minutes=1)
    keys.revoke(key=key)
    assert ApiKey.objects.get(pk=key.pk).revoked_at == revoked_at
    assert ApiKey.objects.get(pk=other.pk).revoked_at is None
    event = Event.objects.get(name="key-revoked")
    assert (event.subject, event.actor, event.cause) == (key.key_id, "user:a", "requested")
    assert (event.message, event.before["name"]) == ("The API key 'gone' was revoked.", "gone")
    keys.revoke(key=other)
    assert Event.objects.get(name="key-revoked", subject=other.key_id).actor == ""


SCOPES = "Scopes must be some of infer, read, operate, admin, metrics:read"


@pytest.mark.parametrize(
    ("fields", "code", "param", "message"),
    [
        (
            {"scopes": []},
            "invalid_scope",
            "scopes",
            "Scopes must be some of infer, read, operate, admin, metrics:read.",
        ),
        (
            {"scopes": ["root", "read", "boss"]},
            "invalid_scope",
            "scopes",
            f"{SCOPES}, not boss, root.",
        ),
        ({"expires_at": datetime(2001, 1, 1, tzinfo=UTC)}, "invalid_expiry", "expires_at", "'expires_at' must be in"),
        ({"limits": {"monthly_tokens": -1}}, "invalid_request", "limits.monthly_tokens", "'monthly_tokens' must be a"),
        ({"allowed_models": ["A"]}, "invalid_allowed_model", "allowed_models", "'A' is not a route, a model key or '<"),
        ({"allowed_models": ["x" * 90]}, "invalid_allowed_model", "allowed_models", f"'{'x' * 80}' is not a route, a"),
        ({"allowed_models": ["load:*"]}, "invalid_allowed_model", "allowed_models", "'load:*' is not a route, a mode"),
        ({"allowed_models": ["openai:"]}, "invalid_allowed_model", "allowed_models", "'openai:' is not a route, a mo"),
        (
            {"allowed_models": [f"r{number}" for number in range(101)]},
            "invalid_request",
            "allowed_models",
            "'allowed_models' can hold 100 names; '<provider>:*' stands for all of a provider.",
        ),
    ],
)
def test_a_refused_field_is_named(fields: dict[str, Any], code: str, param: str, message: str) -> None:
    key = created("read")
    for call in (
        lambda: keys.create(**({"name": "a", "scopes": ["read"], "actor": "t"} | fields)),
        lambda: keys.change(key=key, changes=fields, actor="t"),
    ):
        error = refusal(call, InvalidRequest)
        assert (error.code, error.param) == (code, param)
        assert error.message.startswith(message)
    assert ApiKey.objects.count() == 1


def test_the_refusal_of_a_name_says_why() -> None:
    error = refusal(lambda: created(allowed_models=["p:a//b"]), InvalidRequest)
    why = refusal(lambda: checked_model_id("a//b"), InvalidRequest).message
    assert error.message == f"'p:a//b' is not a route, a model key or '<provider>:*'. {why}"


def test_up_to_a_hundred_different_names_are_stored_in_canonical_form() -> None:
    names = ["claude:*", "claude:claude-3", "anthropic:*", *(f"r{number}" for number in range(98))]
    key = created(allowed_models=[*names, *names])
    assert key.allowed_models == ["anthropic:*", "anthropic:claude-3", *names[3:]]


def test_a_key_expires_in_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    assert refusal(lambda: created(expires_at=now), InvalidRequest).code == "invalid_expiry"
    key = created(expires_at=now + timedelta(microseconds=1))
    assert keys.change(key=key, changes={"expires_at": None}, actor="t").expires_at is None


def test_limits_that_cannot_be_counted_exactly_are_refused(settings: Any) -> None:
    settings.NOA_WEB_PROCESSES, settings.NOA_LIMITS_URL = 2, None
    refusal(lambda: created(limits={"max_concurrent": 3}), Conflict)
    key = created(limits={"addresses": ["10.0.0.0/8"]})
    refusal(lambda: keys.change(key=key, changes={"limits": {"max_concurrent": 3}}, actor="t"), Conflict)


def test_the_last_use_of_a_key_is_the_latest_of_its_requests() -> None:
    used, unused, other = created(), created(), created()
    hour = datetime(2026, 11, 28, 12, tzinfo=UTC)
    for key, minutes, model_key in ((used, 5, "p:a"), (used, 50, "p:b"), (used, 20, "p:c"), (other, 59, "p:a")):
        Activity.objects.create(
            model_key=model_key,
            hour=hour,
            key_id=key.key_id,
            last_at=hour + timedelta(minutes=minutes),
            requests=1,
            prompt_tokens=1,
            completion_tokens=1,
        )
    assert keys.last_used([used, unused]) == {used.key_id: hour + timedelta(minutes=50)}
    assert keys.last_used([]) == {}


def test_a_scope_of_the_list_is_a_scope() -> None:
    assert created(*Scope).scopes == [scope.value for scope in Scope]


def test_keys_in_memory_are_those_of_one_revision() -> None:
    found, one, two = keys._Found(), ApiKey(key_id="one"), ApiKey(key_id="two")
    assert found.get("one", -1) is None
    found.put("one", 7, one)
    found.put("two", 7, two)
    assert (found.get("one", 7), found.get("two", 7), found.get("three", 7)) == (one, two, None)
    assert (found.get("one", 6), found.get("one", 8)) == (None, None)
    found.put("two", 8, two)
    assert (found.get("one", 8), found.get("two", 8), found.get("two", 7)) == (None, two, None)
