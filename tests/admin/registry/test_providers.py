"""Providers in the console: superusers add, change and test them; a key is never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from models_app.models import AuditEntry, Event, Provider
from models_app.services.catalog import lookup
from models_app.services.providers import providers
from tests.fakes.openai_server import FakeOpenAI

KEY = "sk-canary-1234567890"
LIST = "admin:models_app_provider_changelist"


def form(**fields: Any) -> dict[str, Any]:
    return {
        "slug": "openai",
        "kind": "openai",
        "name": "",
        "base_url": "",
        "api_key": KEY,
        "secret_env": "",
        "enabled": "on",
    } | fields


def add(console: Client, **fields: Any) -> Any:
    return console.post(reverse("admin:models_app_provider_add"), form(**fields))


def page(provider: Provider) -> str:
    return reverse("admin:models_app_provider_change", args=[provider.pk])


def dialog(console: Client, name: str, provider: Provider) -> Any:
    address = reverse(f"admin:models_app_provider_{name}_provider", args=[provider.pk])
    return console.post(address, {"_form_submitted": "True"}, follow=True)


def test_a_provider_is_added_with_a_key_that_is_shown_nowhere(console: Client) -> None:
    answer = add(console, connect="5")
    assert answer.status_code == 302, answer.context["errors"]
    provider = Provider.objects.get(slug="openai")
    assert (provider.origin, provider.timeouts) == ("console", {"connect": 5.0})
    assert providers.endpoint(provider).api_key == KEY
    shown = [console.get(page(provider)), console.get(reverse(LIST))]
    assert not any(KEY in one.content.decode() for one in shown)
    assert "stored" in shown[1].content.decode()
    assert Event.objects.get(name="provider-added").actor == "user:root"
    assert AuditEntry.objects.get(action="create_provider").status == 201


def test_a_change_leaves_the_key_and_an_empty_field_is_no_new_one(console: Client) -> None:
    add(console)
    provider = Provider.objects.get(slug="openai")
    answer = console.post(page(provider), form(name="Ours", api_key=""))
    assert answer.status_code == 302, answer.context["errors"]
    provider.refresh_from_db()
    assert (provider.name, providers.endpoint(provider).api_key) == ("Ours", KEY)
    console.post(page(provider), form(api_key="", forget_key="on"))
    provider.refresh_from_db()
    assert provider.secret == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"base_url": "http://10.0.0.1/v1"}, "allow_private_addresses"),
        ({"slug": "load"}, "cannot be a provider"),
        ({"api_key": "with a\x7fbreak"}, "printable ASCII"),
        ({"secret_env": "TEAM_KEY"}, "not both"),
        ({"kind": "llama.cpp"}, "needs the"),
        ({"connect": "0"}, "greater than or equal"),
    ],
)
def test_what_cannot_be_is_said_at_the_form(console: Client, fields: dict[str, Any], text: str) -> None:
    answer = add(console, **fields)
    assert answer.status_code == 200
    assert text in str(answer.context["errors"])
    assert not Provider.objects.filter(slug="openai").exists()


def test_another_address_needs_the_key_anew(console: Client) -> None:
    add(console)
    provider = Provider.objects.get(slug="openai")
    answer = console.post(page(provider), form(base_url="https://other.example/v1", api_key=""))
    assert "enter the key again" in str(answer.context["errors"])


def test_a_variable_that_was_filled_in_gives_way_to_a_new_key(console: Client) -> None:
    add(console, api_key="", secret_env="TEAM_KEY")
    provider = Provider.objects.get(slug="openai")
    console.post(page(provider), form(api_key=KEY, secret_env="TEAM_KEY"))
    provider.refresh_from_db()
    assert (provider.secret_env, providers.endpoint(provider).api_key) == ("", KEY)


def test_a_test_says_what_the_provider_said(console: Client, fake_openai: FakeOpenAI) -> None:
    add(console, base_url=fake_openai.base_url, allow_private_addresses="on")
    provider = Provider.objects.get(slug="openai")
    text = dialog(console, "test", provider).content.decode()
    assert "Incorrect API key provided" in text
    assert KEY not in text


def test_a_provider_is_removed_unless_it_is_the_machine_itself(console: Client) -> None:
    add(console)
    text = dialog(console, "remove", Provider.objects.get(slug="openai")).content.decode()
    assert "was removed" in text
    text = dialog(console, "remove", lookup.local_provider()).content.decode()
    assert "cannot be deleted" in text


def test_what_the_environment_names_can_only_be_looked_at(console: Client) -> None:
    provider = Provider.objects.create(slug="env", kind="openai", origin="environment")
    assert console.post(page(provider), form(name="x", api_key="")).status_code == 403
    assert 'name="api_key"' not in console.get(page(provider)).content.decode()


def test_only_superusers_configure_providers(staff: Callable[..., Client]) -> None:
    provider = lookup.local_provider()
    client = staff("view_provider", "add_provider", "change_provider")
    assert client.get(reverse(LIST)).status_code == 200
    assert client.get(reverse("admin:models_app_provider_add")).status_code == 403
    assert add(client).status_code == 403
    assert 'name="name"' not in client.get(page(provider)).content.decode()
    assert dialog(client, "test", provider).status_code == 403
