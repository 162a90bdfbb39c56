"""The log-in page: a bounded number of wrong passwords, and the same work for every name."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from models_app.models import AuditEntry, Event
from models_app.services.log_ins import hashing
from models_app.services.log_ins.hashing import Hashing
from tests.admin.conftest import browser

PATHS = ("/admin/login/", "/admin/login/?next=/admin/models_app/job/")


@pytest.fixture
def users(db: None) -> None:
    User.objects.create_superuser("admin", password="right")
    User.objects.create_user("clerk", password="right")
    User.objects.create_user("gone", password="right", is_staff=True, is_active=False)
    User.objects.create_superuser("nopassword")


def post(username: str, password: str, *, client: Client | None = None, path: str = PATHS[0], **more: Any) -> Any:
    client = client or browser()
    client.raise_request_exception = False
    body = {"username": username, "password": password}
    return client.post(path, body, headers={"Accept": "text/html"}, **more)


@pytest.mark.parametrize("path", PATHS)
def test_twelve_wrong_passwords_then_the_right_one(users: None, path: str) -> None:
    statuses = [post("admin", "wrong", path=path).status_code for _ in range(12)]
    assert statuses == [200] * 5 + [429] * 7
    refused = post("admin", "right", path=path)
    assert refused.status_code == 429
    assert 50 < int(refused["Retry-After"]) <= 60
    assert "Too many log-ins failed" in refused.content.decode()
    assert not Session.objects.exists()
    assert post("admin", "right", path=path, REMOTE_ADDR="192.0.2.9").status_code == 302


def test_the_rows_of_refused_log_ins_are_few(users: None) -> None:
    for number in range(60):
        post(f"user{number}" if number % 2 else "admin", "wrong")
    assert AuditEntry.objects.count() < 40
    assert Event.objects.count() <= 2


@pytest.mark.parametrize("username", ["admin", "clerk", "gone", "nopassword", "unknown", "adm\0in", "x" * 5000])
def test_a_wrong_password_costs_one_hash_for_every_name(users: None, username: str) -> None:
    with mock.patch.object(
        PBKDF2PasswordHasher, "encode", autospec=True, side_effect=PBKDF2PasswordHasher.encode
    ) as encode:
        answer = post(username, "wrong")
    assert answer.status_code == 200
    # The form refuses a NUL for every name.
    assert encode.call_count == (0 if "\0" in username else 1)


@pytest.mark.parametrize("username", ["clerk", "gone", "nopassword"])
def test_accounts_that_cannot_log_in_are_braked_too(users: None, username: str) -> None:
    assert [post(username, "right").status_code for _ in range(7)] == [200] * 5 + [429] * 2


def test_a_server_that_is_busy_hashing_says_when_to_try_again(users: None) -> None:
    with mock.patch.object(hashing, "hashing", Hashing(0, 0, 0.01)):
        answers = [post("admin", "right") for _ in range(8)]
    assert {(answer.status_code, answer["Retry-After"]) for answer in answers} == {(503, "3")}
    # None of them counted as a failure.
    assert post("admin", "right").status_code == 302


def test_a_log_in_after_failures_succeeds_and_counts_from_zero(users: None) -> None:
    for _ in range(3):
        assert [post("admin", "wrong").status_code for _ in range(4)] == [200] * 4
        assert post("admin", "right").status_code == 302
