"""The state of a provider is the last real contact with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.breaker import BreakerState
from models_app.domain.residency.contact import Contact, contact_of
from models_app.models import Provider
from models_app.services.providers import breakers, contacts
from models_app.services.registry import provider_settings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def provider() -> Provider:
    return Provider.objects.create(slug="openai", kind=ProviderKind.OPENAI, base_url="https://api.example.com")


def state() -> contacts.ProviderState:
    return contacts.state_of(Provider.objects.get(slug="openai"))


def test_a_new_provider_is_not_tried() -> None:
    assert state() == contacts.ProviderState(Contact.NOT_TRIED, None, "", None)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (None, "answered"),
        ("provider_rate_limited", "answered"),
        ("provider_auth_failed", "key_refused"),
        ("provider_unreachable", "not_reachable"),
        ("provider_timeout", "not_reachable"),
        ("provider_redirected", "wrong_answer"),
        ("provider_error", "wrong_answer"),
    ],
)
def test_an_outcome_is_its_state_with_its_reason(code: str | None, name: str) -> None:
    contacts.report_outcome(slug="openai", code=code, reason="It says so.")
    found = state()
    assert (found.name, found.reason) == (name, "" if name == "answered" else "It says so.")
    assert found.at is not None and timezone.now() - found.at < timedelta(minutes=1)
    assert contact_of(code) == name


def test_a_provider_whose_circuit_is_open_is_paused_until_then() -> None:
    breakers.report(slug="openai", state=BreakerState.OPEN, reason="It is down.")
    contacts.report(slug="openai", contact=Contact.NOT_REACHABLE, reason="It is down.", pause=60)
    found = state()
    assert (found.name, found.reason) == ("paused", "It is down.")
    assert found.until is not None and found.until > timezone.now() + timedelta(seconds=50)
    Provider.objects.update(paused_until=timezone.now() - timedelta(seconds=1))
    assert state().name == "not_reachable"
    contacts.report(slug="openai", contact=Contact.ANSWERED)
    breakers.report(slug="openai", state=BreakerState.CLOSED, reason="")
    assert state().name == "answered"


def test_what_was_met_with_another_key_or_address_is_forgotten() -> None:
    for fields in ({"base_url": "https://other.example.com"}, {"secret_env": "OTHER_KEY"}):
        contacts.report(slug="openai", contact=Contact.KEY_REFUSED, reason="No.", pause=9)
        provider_settings.change(slug="openai", fields=fields, actor="test")
        assert state().name == "not_tried"
    contacts.report(slug="openai", contact=Contact.ANSWERED)
    provider_settings.change(slug="openai", fields={"name": "Other"}, actor="test")
    assert state().name == "answered"


def test_a_disabled_one_is_disabled() -> None:
    Provider.objects.update(enabled=False)
    assert state().name == "disabled"
