"""Who may do what: every route, with every kind of key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from models_app.api.urls import urlpatterns
from models_app.domain.scopes import Scope
from models_app.models import ApiKey
from models_app.services import keys
from tests.api.conftest import Api

READS = [
    "/models", "/models/loaded", "/models/current", "/models/llama.cpp", "/models/llama.cpp:a",
    "/jobs/00000000-0000-0000-0000-000000000000",
]  # fmt: skip
WRITES = ["/models/load", "/models/unload", "/models/switch", "/models/discover"]


def ask(api: Api, path: str) -> int:
    answer = api.post(path) if path in WRITES else api.get(path)
    assert answer["Content-Type"] == "application/json"
    return int(answer.status_code)


def test_every_route_of_the_api_is_in_these_tables() -> None:
    assert len(urlpatterns) == len(READS) + len(WRITES)


@pytest.mark.parametrize("path", READS + WRITES)
def test_nobody_gets_in_without_a_key(api: Callable[..., Api], path: str) -> None:
    assert ask(api(), path) == 401


@pytest.mark.parametrize("path", READS + WRITES)
@pytest.mark.parametrize("key", ["", "noa_", "noa_x_y", "nöa", "a" * 10_000, "' OR 1=1 --"])
def test_a_wrong_key_is_refused(db: None, path: str, key: str) -> None:
    assert ask(Api(key or " "), path) == 401


@pytest.mark.parametrize("path", READS + WRITES)
def test_a_key_for_inference_manages_nothing(api: Callable[..., Api], path: str) -> None:
    assert ask(api(Scope.INFER), path) == 403


@pytest.mark.parametrize("path", WRITES)
def test_a_reading_key_changes_nothing(api: Callable[..., Api], path: str) -> None:
    assert ask(api(Scope.READ), path) == 403


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("scope", [Scope.READ, Scope.OPERATE, Scope.ADMIN])
def test_reading_needs_little(api: Callable[..., Api], path: str, scope: Scope) -> None:
    assert ask(api(scope), path) in (200, 404)


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("scope", [Scope.OPERATE, Scope.ADMIN])
def test_operating_needs_its_scope(api: Callable[..., Api], path: str, scope: Scope) -> None:
    assert ask(api(scope), path) in (202, 400)


@pytest.mark.parametrize("path", READS)
def test_revoked_and_expired_keys_are_refused(db: None, path: str) -> None:
    key, text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test")
    keys.revoke(key=key)
    assert ask(Api(text), path) == 401
    key, text = keys.create(name="k", scopes=[Scope.ADMIN], actor="test")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert ask(Api(text), path) == 401


def test_a_key_is_never_stored(db: None) -> None:
    key, text = keys.create(name="k", scopes=[Scope.INFER], actor="test")
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    secret = text.rpartition("_")[2]
    assert not any(secret in str(value) for value in row.values())


def test_a_session_reads_and_needs_csrf_to_change(db: None) -> None:
    user = get_user_model().objects.create_superuser("op")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.get("/api/v1/models").status_code == 200
    assert client.post("/api/v1/models/discover").status_code == 403


def test_staff_without_rights_only_reads(db: None) -> None:
    user = get_user_model().objects.create_user("viewer", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get("/api/v1/models").status_code == 200
    assert client.post("/api/v1/models/discover").status_code == 403


def test_other_users_get_nothing(db: None) -> None:
    user = get_user_model().objects.create_user("visitor")
    client = Client()
    client.force_login(user)
    assert client.get("/api/v1/models").status_code == 403
