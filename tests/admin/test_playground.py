"""The playground's key: short-lived, scoped, one for each user; and its record of an answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.domain.traffic.routing import hash_api_key
from models_app.models import AccessLog, ApiKey, AuditEntry, RegisteredModel
from models_app.services.api_keys import keys, playground
from tests.admin.conftest import make_log_row

PAGE = reverse("console:playground")
KEY = reverse("console:playground-key")
RECORD = reverse("console:playground-record")


def fetch(client: Client) -> dict[str, Any]:
    answer = client.post(KEY)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    found: dict[str, Any] = answer.json()
    return found


def test_the_key_may_only_ask_models_and_only_for_a_while(console: Client) -> None:
    text = fetch(console)["key"]
    key = ApiKey.objects.get()
    assert key.digest == hash_api_key(text)
    assert key.scopes == ["infer"]
    assert key.expires_at is not None
    assert key.expires_at - timezone.now() <= timedelta(minutes=15)
    found = keys.find(text=text)
    assert found == key


def test_two_windows_have_the_same_key_and_nothing_is_written_for_the_second(
    console: Client,
) -> None:
    first = fetch(console)
    assert fetch(console) == first
    assert AuditEntry.objects.filter(action="renew_playground_key").count() == 1


def test_a_key_that_ends_soon_is_renewed_in_its_row(console: Client) -> None:
    first = fetch(console)["key"]
    ApiKey.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    second = fetch(console)["key"]
    assert second != first
    assert ApiKey.objects.count() == 1
    assert keys.find(text=first) is None
    assert keys.find(text=second) is not None


def test_a_key_that_was_revoked_is_never_good_again(console: Client) -> None:
    first = fetch(console)["key"]
    keys.revoke(key=ApiKey.objects.get(), actor="user:root")
    second = fetch(console)["key"]
    assert second != first
    assert keys.find(text=first) is None
    assert ApiKey.objects.count() == 2


def test_nobody_has_the_key_of_somebody_else(db: None) -> None:
    _, one, _ = playground.key_for(user_id=1, username="one")
    _, eleven, _ = playground.key_for(user_id=11, username="eleven")
    assert one != eleven
    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize("address", [PAGE, KEY, RECORD])
def test_who_may_only_look_may_not_chat(staff: Callable[..., Client], address: str) -> None:
    client = staff("view_registeredmodel", "view_accesslog", "view_apikey")
    ask = client.post if address == KEY else client.get
    assert ask(address).status_code == 403
    assert not ApiKey.objects.exists()


def test_a_get_makes_no_key(console: Client) -> None:
    assert console.get(KEY).status_code == 405
    assert not ApiKey.objects.exists()


def test_a_key_needs_the_forms_token(superuser: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)
    assert client.post(KEY).status_code == 403
    assert not ApiKey.objects.exists()


def test_the_page_offers_routes_first_then_what_is_loaded(console: Client, furnished: RegisteredModel) -> None:
    page = console.get(PAGE).content.decode()
    places = [page.index(text) for text in ("current → llama.cpp:tiny", ">llama.cpp:tiny<", ">llama.cpp:other<")]
    assert places == sorted(places)


def test_a_link_chooses_the_models(console: Client, furnished: RegisteredModel) -> None:
    page = console.get(PAGE, {"model": "llama.cpp:other", "second": "strange"}).content.decode()
    assert '<option value="llama.cpp:other" selected>' in page
    assert '<option value="strange">' in page


def test_an_answer_is_told_as_the_access_log_has_it(console: Client, furnished: RegisteredModel) -> None:
    assert console.get(RECORD, {"request_id": "playground-1"}).status_code == 204
    AccessLog.objects.update(client_request_id="playground-1", cost_usd="0.0042")
    record = console.get(RECORD, {"request_id": "playground-1"}).json()
    row = AccessLog.objects.get()
    assert record["url"] == reverse("admin:models_app_accesslog_change", args=[row.pk])
    assert record["cost"] == "$0.0042"
    assert record["first_token"] == "44\xa0ms"
    assert record["tokens"] == "1,234"


def test_no_request_id_finds_no_row(console: Client) -> None:
    make_log_row(1)
    assert console.get(RECORD).status_code == 204


@pytest.mark.parametrize("how", ["deactivated", "not staff", "deleted"])
def test_the_keys_of_a_user_end_with_the_user(staff: Callable[..., Client], how: str) -> None:
    client = staff("change_registeredmodel")
    text = client.post(reverse("console:playground-key")).json()["key"]
    user = User.objects.get()
    assert keys.find(text=text) is not None
    user.first_name = "Still here"
    user.save()
    assert keys.find(text=text) is not None
    if how == "deleted":
        user.delete()
    else:
        user.is_active, user.is_staff = how != "deactivated", how != "not staff"
        user.save()
    assert keys.find(text=text) is None
