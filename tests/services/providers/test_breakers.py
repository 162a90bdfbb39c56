"""The gateway's reports of providers' circuits, and their events."""

from __future__ import annotations

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.breaker import BreakerState
from models_app.models import Event, Provider
from models_app.services.providers import breakers

pytestmark = pytest.mark.django_db(transaction=True)

OPEN, HALF, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED


@pytest.fixture(autouse=True)
def provider() -> Provider:
    return Provider.objects.create(slug="openai", kind=ProviderKind.OPENAI)


def report(*states: BreakerState) -> list[bool]:
    return [
        breakers.report(slug="openai", state=state, reason="" if state is CLOSED else "It is down.") for state in states
    ]


def names() -> list[str]:
    return list(Event.objects.order_by("id").values_list("name", flat=True))


def test_an_open_circuit_is_stored_with_its_reason(provider: Provider) -> None:
    assert report(OPEN) == [True]
    provider.refresh_from_db()
    assert (provider.breaker, provider.breaker_reason) == ("open", "It is down.")
    assert provider.breaker_changed_at is not None


def test_an_outage_is_two_events_however_often_it_is_probed(provider: Provider) -> None:
    report(OPEN, HALF, OPEN, HALF, OPEN, HALF, CLOSED)
    assert names() == ["provider-failing", "provider-recovered"]
    provider.refresh_from_db()
    assert (provider.breaker, provider.breaker_reason) == ("closed", "")
    failing = Event.objects.get(name="provider-failing")
    assert (failing.subject, failing.before, failing.after) == (
        "openai",
        {"breaker": "closed"},
        {"breaker": "open"},
    )
    assert "It is down." in failing.message


def test_what_is_stored_already_is_no_news() -> None:
    assert report(CLOSED, OPEN, OPEN, CLOSED, CLOSED) == [False, True, False, True, False]
    assert names() == ["provider-failing", "provider-recovered"]


def test_a_provider_that_is_gone_is_passed_over() -> None:
    assert not breakers.report(slug="gone", state=OPEN, reason="It is down.")


def test_a_long_reason_is_cut(provider: Provider) -> None:
    breakers.report(slug="openai", state=OPEN, reason="x" * 2000)
    provider.refresh_from_db()
    assert len(provider.breaker_reason) == 500
