"""The state of each provider: what the last real contact with it met."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from models_app.domain.residency.breaker import BreakerState
from models_app.domain.residency.contact import Contact, contact_of
from models_app.models import Provider
from models_app.services.providers import providers

_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class ProviderState:
    """`name` is `local`, `disabled`, `paused` or a `Contact`; `at` is the time of the last contact.

    `until` is the end of a pause, in which the provider gets no requests.
    """

    name: str
    at: datetime | None
    reason: str
    until: datetime | None


def report(*, slug: str, contact: Contact, reason: str = "", pause: float = 0.0) -> None:
    """Stores the last contact with a provider, which is unknown if it was removed meanwhile.

    `pause`: seconds for which it gets no requests.
    """
    now = timezone.now()
    Provider.objects.filter(slug=slug).update(
        contact=contact,
        contact_at=now,
        contact_reason="" if contact is Contact.ANSWERED else reason[:_MAX_REASON],
        paused_until=now + timedelta(seconds=pause) if pause else None,
    )


def report_outcome(*, slug: str, code: str | None, reason: str = "") -> None:
    """As `report`, for a request that ended with the error `code`, or well."""
    report(slug=slug, contact=contact_of(code), reason=reason)


def forget(provider: Provider) -> None:
    """What was met with another address or key says nothing about the present ones. Saves nothing."""
    provider.contact, provider.contact_at, provider.contact_reason = Contact.NOT_TRIED, None, ""
    provider.breaker, provider.breaker_reason, provider.paused_until = BreakerState.CLOSED, "", None


def state_of(provider: Provider) -> ProviderState:
    if not providers.is_remote(provider):
        return ProviderState("local" if provider.enabled else "disabled", None, "", None)
    name, reason, until = provider.contact, provider.contact_reason, provider.paused_until
    if not provider.enabled:
        name, until = "disabled", None
    elif until is not None and until > timezone.now() and provider.breaker == BreakerState.OPEN:
        name, reason = "paused", provider.breaker_reason or reason
    else:
        until = None
    return ProviderState(name, provider.contact_at, reason, until)
