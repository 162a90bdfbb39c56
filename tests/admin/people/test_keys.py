"""API keys in the console."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from models_app.domain.rights import RIGHTS
from models_app.domain.scopes import Scope
from models_app.models import ApiKey, RoutingRevision
from models_app.services.api_keys import keys

ADD = {"name": "website", "scopes": ["infer", "read"], "expires_at_0": "", "expires_at_1": ""}
_TEXT = re.compile(r"noa_[0-9a-f]{12}_[A-Za-z0-9_-]{40,}")


def add(client: Client, **fields: Any) -> Any:
    return client.post(reverse("admin:models_app_apikey_add"), ADD | fields)


def test_a_new_key_is_shown_once_and_never_again(console: Client) -> None:
    answer = add(console)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    (text,) = set(_TEXT.findall(answer.content.decode()))
    key = ApiKey.objects.get()
    assert keys.find(text=text) == key
    assert (key.name, key.scopes, key.created_by) == ("website", ["infer", "read"], "user:root")
    for page in ("changelist", "change"):
        args = [key.pk] if page == "change" else []
        shown = console.get(reverse(f"admin:models_app_apikey_{page}", args=args)).content.decode()
        assert text not in shown
        assert key.digest not in shown
    assert text not in str(dict(console.session.items()))
    assert RoutingRevision.objects.get().revision == 1


def test_a_key_needs_a_scope_that_exists(console: Client) -> None:
    for scopes in ([], ["everything"]):
        assert "This field is required" in (page := add(console, scopes=scopes).content.decode()) or (
            "Select a valid choice" in page
        )
    assert not ApiKey.objects.exists()


def test_a_key_does_not_expire_before_it_begins(console: Client) -> None:
    answer = add(console, expires_at_0="2020-01-01", expires_at_1="00:00:00")
    assert "This time has passed" in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_by_its_dialog(console: Client) -> None:
    key, text = keys.create(name="website", scopes=["infer"], actor="test")
    address = reverse("admin:models_app_apikey_revoke_key", args=[key.pk])
    assert "website" in console.get(address).content.decode()
    assert keys.find(text=text) == key
    assert console.post(address, {"_form_submitted": "True"}).status_code == 302
    assert keys.find(text=text) is None
    listed = console.get(reverse("admin:models_app_apikey_changelist")).content.decode()
    assert "revoked" in listed


def test_a_key_that_expired_says_so(console: Client) -> None:
    key, _ = keys.create(name="old", scopes=["infer"], actor="test")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))
    listed = console.get(reverse("admin:models_app_apikey_changelist")).content.decode()
    assert "expired" in listed


def test_a_key_cannot_be_changed_or_deleted(console: Client) -> None:
    key, _ = keys.create(name="website", scopes=["infer"], actor="test")
    address = reverse("admin:models_app_apikey_change", args=[key.pk])
    assert console.post(address, ADD | {"name": "other"}).status_code == 403
    deletion = reverse("admin:models_app_apikey_delete", args=[key.pk])
    assert console.post(deletion, {"post": "yes"}).status_code == 403
    assert ApiKey.objects.get().name == "website"


def test_a_key_is_made_with_limits_and_shows_them(console: Client) -> None:
    given = {"requests_per_minute": "60", "monthly_budget_usd": "2.5", "addresses": "10.0.0.1/8, "}
    assert add(console, **given).status_code == 200
    key = ApiKey.objects.get()
    assert key.limits == {
        "requests_per_minute": 60,
        "monthly_budget_usd": 2.5,
        "addresses": ["10.0.0.0/8"],
    }
    page = console.get(reverse("admin:models_app_apikey_change", args=[key.pk])).content.decode()
    assert "requests per minute: 60" in page


def test_a_key_is_not_made_with_limits_that_are_none(console: Client, settings: Any) -> None:
    assert "addresses and networks such as" in add(console, addresses="here").content.decode()
    settings.NOA_WEB_PROCESSES, settings.NOA_LIMITS_URL = 2, None
    assert "NOA_REDIS_URL" in add(console, max_concurrent="3").content.decode()
    assert not ApiKey.objects.exists()


READS = sorted({name for right in RIGHTS.values() if right.scope is Scope.READ for name in right.staff or ()})
OPERATES = sorted({name for right in RIGHTS.values() if right.scope is Scope.OPERATE for name in right.staff or ()})
GIVES: dict[str, tuple[list[str], set[str]]] = {
    "who adds keys": (["add_apikey"], {"infer"}),
    "who also changes models": (["add_apikey", "change_registeredmodel"], {"infer"}),
    "who also reads everything": (["add_apikey", *READS], {"infer", "read", "metrics:read"}),
    "who also operates everything": (["add_apikey", *READS, *OPERATES], {"infer", "read", "metrics:read", "operate"}),
}


@pytest.mark.parametrize("who", GIVES)
def test_staff_give_a_part_of_their_own_rights(staff: Callable[..., Client], who: str) -> None:
    """By the form, and by the API."""
    codenames, given = GIVES[who]
    client = staff(*codenames)
    for scope in Scope:
        before = ApiKey.objects.count()
        add(client, scopes=["infer", scope])
        assert (ApiKey.objects.count() > before) == (scope in given), scope
        answer = client.post("/api/v1/api-keys", {"name": "k", "scopes": [scope]}, content_type="application/json")
        assert answer.status_code == (201 if scope in given else 403), scope
    assert {scope for key in ApiKey.objects.all() for scope in key.scopes} == given


def test_the_form_offers_what_the_user_can_give(staff: Callable[..., Client], console: Client) -> None:
    def offered(client: Client) -> set[str]:
        page = client.get(reverse("admin:models_app_apikey_add")).content.decode()
        return {scope for scope in Scope if f'value="{scope}"' in page}

    assert offered(staff("add_apikey")) == {"infer"}
    assert offered(console) == set(Scope)
    assert offered(console) == set(Scope)
