"""API keys over the API, GET /me, and the effect of `allowed_models`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from models_app.domain.scopes import Scope
from models_app.models import Activity, ApiKey, Event, IdempotencyKey, Job, RegisteredModel
from models_app.services.api_keys import keys
from models_app.tasks import queueing
from tests.api.conftest import Api

MakeModel = Callable[..., RegisteredModel]
PAST = "2001-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def no_worker() -> Iterator[None]:
    with mock.patch.object(queueing, "enqueue"):
        yield


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_key_is_made_and_shown_once(admin: Api) -> None:
    answer = admin.post(
        "/api-keys",
        {
            "name": "ci",
            "scopes": ["operate", "read"],
            "allowed_models": ["current", "llama.cpp:a", "claude:*", "current"],
            "expires_at": "2999-01-01T00:00:00+02:00",
        },
    )
    assert answer.status_code == 201
    made = answer.json()
    assert answer["Location"] == f"/api/v1/api-keys/{made['key_id']}"
    assert answer["Cache-Control"] == "no-store"
    assert made["key"].startswith(f"noa_{made['key_id']}_")
    assert made["scopes"] == ["read", "operate"]
    assert made["allowed_models"] == ["current", "llama.cpp:a", "anthropic:*"]
    assert made["expires_at"] == "2998-12-31T22:00:00Z"
    assert (made["state"], made["created_by"]) == ("active", "key:test")
    assert Api(made["key"]).get("/jobs").status_code == 200
    for again in (admin.get(f"/api-keys/{made['key_id']}"), admin.get("/api-keys")):
        assert made["key"].rpartition("_")[2] not in again.content.decode()
        assert "digest" not in again.content.decode()
    event = Event.objects.get(name="key-created", subject=made["key_id"])
    assert (event.actor, event.after["scopes"]) == ("key:test", ["read", "operate"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": ""}, "invalid_request"),
        ({"name": "a" * 101}, "invalid_request"),
        ({"name": None}, "invalid_request"),
        ({"scopes": []}, "invalid_request"),
        ({"scopes": ["root"]}, "invalid_request"),
        ({"scopes": "admin"}, "invalid_request"),
        ({"scopes": None}, "invalid_request"),
        ({"expires_at": PAST}, "invalid_expiry"),
        ({"expires_at": "tomorrow"}, "invalid_request"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "invalid_request"),
        ({"allowed_models": ["Not A Route"]}, "invalid_allowed_model"),
        ({"allowed_models": ["*"]}, "invalid_allowed_model"),
        ({"allowed_models": ["openai:"]}, "invalid_allowed_model"),
        ({"allowed_models": ["load:*"]}, "invalid_allowed_model"),
        ({"allowed_models": ["openai:**"]}, "invalid_allowed_model"),
        ({"allowed_models": [7]}, "invalid_allowed_model"),
        ({"allowed_models": [["a"]]}, "invalid_request"),
        ({"allowed_models": ["a"] * 101}, "invalid_request"),
        ({"allowed_models": "current"}, "invalid_request"),
        ({"key_id": "0123456789ab"}, "unknown_field"),
        ({"digest": "0"}, "unknown_field"),
    ],
)
@pytest.mark.parametrize("method", ["post", "patch"])
def test_bad_fields_are_refused(admin: Api, method: str, change: dict[str, Any], expected: str) -> None:
    existing, _ = keys.create(name="existing", scopes=["read"], actor="test")
    if method == "post":
        answer = admin.post("/api-keys", {"name": "ci", "scopes": ["read"]} | change)
    else:
        answer = admin.patch(f"/api-keys/{existing.key_id}", change)
    if change == {"allowed_models": [7]}:  # DRF reads a number as its text
        assert answer.status_code in (200, 201, 400)
    else:
        assert code(answer) == (400, expected)
        assert ApiKey.objects.exclude(name__in=["test", "existing"]).count() == 0


def test_keys_are_listed_by_their_state(admin: Api) -> None:
    revoked, _ = keys.create(name="revoked", scopes=["read"], actor="test")
    keys.revoke(key=revoked)
    expired, _ = keys.create(name="expired", scopes=["read"], actor="test")
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(days=1))

    def names(query: str = "") -> list[str]:
        found = admin.get(f"/api-keys{query}").json()["api_keys"]
        return [f"{key['name']} {key['state']}" for key in found]

    assert names() == ["expired expired", "revoked revoked", "test active"]
    assert names("?state=active") == ["test active"]
    assert names("?state=expired") == ["expired expired"]
    assert names("?state=revoked") == ["revoked revoked"]


def test_the_last_use_is_that_of_the_gateway(admin: Api) -> None:
    key, _ = keys.create(name="app", scopes=["infer"], actor="test")
    assert admin.get(f"/api-keys/{key.key_id}").json()["last_used_at"] is None
    for hour in (1, 2):
        at = timezone.now().replace(hour=hour, minute=0, second=0, microsecond=0)
        Activity.objects.create(hour=at, model_key=f"openai:{hour}", key_id=key.key_id, requests=1, last_at=at)
    assert admin.get(f"/api-keys/{key.key_id}").json()["last_used_at"] == (at.isoformat().replace("+00:00", "Z"))


def test_a_key_is_changed_and_the_change_counts_at_once(admin: Api) -> None:
    key, text = keys.create(name="ci", scopes=["read"], actor="test")
    assert Api(text).post("/models/discover").status_code == 403
    answer = admin.patch(f"/api-keys/{key.key_id}", {"name": "deploy", "scopes": ["operate"], "expires_at": None})
    assert (answer.status_code, answer.json()["name"]) == (200, "deploy")
    assert Api(text).post("/models/discover").status_code == 202
    assert Job.objects.get().actor == "key:deploy"
    event = Event.objects.get(name="key-changed")
    assert (event.before["name"], event.after["name"]) == ("ci", "deploy")


def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(admin: Api) -> None:
    key, text = keys.create(name="ci", scopes=["read"], actor="test")
    assert Api(text).get("/jobs").status_code == 200
    assert admin.delete(f"/api-keys/{key.key_id}").status_code == 204
    assert code(Api(text).get("/jobs")) == (401, "invalid_api_key")
    assert admin.get(f"/api-keys/{key.key_id}").json()["state"] == "revoked"
    assert admin.delete(f"/api-keys/{key.key_id}").status_code == 204
    assert Event.objects.filter(name="key-revoked").count() == 1
    assert code(admin.patch(f"/api-keys/{key.key_id}", {"name": "x"})) == (409, "api_key_revoked")


def test_a_key_is_refused_from_the_moment_at_which_it_expires(admin: Api) -> None:
    key, text = keys.create(name="ci", scopes=["read"], actor="t", expires_at=timezone.now() + timedelta(minutes=1))
    assert Api(text).get("/jobs").status_code == 200
    later = timezone.now() + timedelta(minutes=2)
    with mock.patch.object(timezone, "now", return_value=later):
        assert code(Api(text).get("/jobs")) == (401, "invalid_api_key")


def own(admin: Api) -> str:
    return str(admin.get("/me").json()["key_id"])


def test_the_last_key_of_an_administrator_cannot_lock_itself_out(admin: Api) -> None:
    assert code(admin.delete(f"/api-keys/{own(admin)}")) == (409, "last_admin_key")
    assert code(admin.patch(f"/api-keys/{own(admin)}", {"scopes": ["read"]})) == (
        409,
        "last_admin_key",
    )
    assert admin.patch(f"/api-keys/{own(admin)}", {"name": "boss"}).status_code == 200
    keys.create(name="other", scopes=["admin"], actor="test")
    assert admin.delete(f"/api-keys/{own(admin)}").status_code == 204


def test_an_expired_key_is_no_other_administrator(admin: Api) -> None:
    other, _ = keys.create(name="other", scopes=["admin"], actor="test")
    ApiKey.objects.filter(pk=other.pk).update(expires_at=timezone.now() - timedelta(days=1))
    assert code(admin.delete(f"/api-keys/{own(admin)}")) == (409, "last_admin_key")


def test_a_session_may_revoke_the_last_key(db: None) -> None:
    key, _ = keys.create(name="only", scopes=["admin"], actor="test")
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("op"))
    assert client.delete(f"/api/v1/api-keys/{key.key_id}").status_code == 204


@pytest.mark.parametrize("key_id", ["nothing", "0" * 12, "x" * 500, "ä"])
def test_an_unknown_key_is_said_so(admin: Api, key_id: str) -> None:
    assert code(admin.get(f"/api-keys/{key_id}")) == (404, "api_key_not_found")


@pytest.mark.parametrize("scope", list(Scope))
def test_every_key_may_ask_what_it_is(db: None, scope: Scope) -> None:
    key, text = keys.create(name="app", scopes=[scope], actor="test", allowed_models=["current"])
    assert Api(text).get("/me").json() == {
        "kind": "api_key",
        "name": "app",
        "key_id": key.key_id,
        "scopes": [scope],
        "allowed_models": ["current"],
        "expires_at": None,
    }


def test_a_session_may_ask_what_it_is(db: None) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("op"))
    assert client.get("/api/v1/me").json() == {
        "kind": "session",
        "name": "op",
        "key_id": None,
        "scopes": ["admin"],
        "allowed_models": [],
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        ("/models/load", {"key": "llama.cpp:a"}, ["llama.cpp:a"]),
        ("/models/load", {"provider": "llama.cpp", "model": "a"}, ["llama.cpp:*"]),
        ("/models/unload", {"key": "llama.cpp:a"}, ["llama.cpp:a"]),
        ("/models/switch", {"key": "llama.cpp:a"}, ["llama.cpp:a", "current"]),
        ("/routes", {"name": "fast", "fallbacks": ["llama.cpp:a"]}, ["llama.cpp:a", "fast"]),
        ("/routes", {"name": "fast"}, ["fast"]),
    ],
)
def test_a_key_that_is_bound_changes_only_what_it_is_bound_to(
    make_model: MakeModel, path: str, body: dict[str, Any], allowed: list[str]
) -> None:
    make_model("a")
    for number in range(len(allowed)):
        less = allowed[:number] + ["openai:*"] + allowed[number + 1 :]
        _, text = keys.create(name="k", scopes=["operate"], actor="t", allowed_models=less)
        assert code(Api(text).post(path, body)) == (403, "model_not_allowed")
    _, text = keys.create(name="k", scopes=["operate"], actor="t", allowed_models=allowed)
    assert Api(text).post(path, body).status_code in (201, 202, 409)


def test_a_key_that_is_bound_reads_everything(make_model: MakeModel) -> None:
    make_model("a")
    _, text = keys.create(name="k", scopes=["read"], actor="t", allowed_models=["openai:*"])
    assert Api(text).get("/models/llama.cpp:a").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_who_asks_is_known_by_one_small_query(django_assert_num_queries: Any) -> None:
    _, text = keys.create(name="k", scopes=["read"], actor="t")
    client = Api(text)
    client.get("/me")
    with django_assert_num_queries(1):
        client.get("/me")
    assert not IdempotencyKey.objects.exists()


def test_a_key_gets_limits_and_loses_them(admin: Api, settings: Any) -> None:
    limits = {"requests_per_minute": 60, "monthly_budget_usd": 20.5, "addresses": ["10.0.0.1/8"]}
    made = admin.post("/api-keys", {"name": "x", "scopes": ["infer"], "limits": limits}).json()
    assert made["limits"] == limits | {"addresses": ["10.0.0.0/8"]}
    path = f"/api-keys/{made['key_id']}"
    assert Event.objects.get(name="key-created", subject=made["key_id"]).after["limits"]
    assert admin.patch(path, {"name": "y"}).json()["limits"]
    assert admin.patch(path, {"limits": {}}).json()["limits"] == {}
    wrong_ones: list[Any] = [{"rpm": 5}, {"requests_per_minute": -1}, {"addresses": ["here"]}, []]
    for wrong in wrong_ones:
        assert admin.patch(path, {"limits": wrong}).status_code == 400


def test_processes_that_count_apart_take_no_limits(admin: Api, settings: Any) -> None:
    settings.NOA_WEB_PROCESSES, settings.NOA_LIMITS_URL = 2, None
    key = {"name": "x", "scopes": ["infer"], "limits": {"max_concurrent": 1}}
    assert code(admin.post("/api-keys", key)) == (409, "limits_need_redis")
    key["limits"] = {"addresses": ["10.0.0.1"], "max_concurrent": 0}
    assert admin.post("/api-keys", key).status_code == 201
    settings.NOA_LIMITS_URL = "redis://localhost/0"
    key["limits"] = {"max_concurrent": 1}
    assert admin.post("/api-keys", key).status_code == 201
