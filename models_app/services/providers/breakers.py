"""Stores the circuit states of providers, as the web processes report them."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.residency.breaker import BreakerState
from models_app.models import Provider
from models_app.services.events import events

_ACTOR = "gateway"
_MAX_REASON = 500


@transaction.atomic
def report(*, slug: str, state: BreakerState, reason: str) -> bool:
    """Stores the state of one provider's circuit; returns False when it has not changed.

    The event `provider-failing` is sent when a closed circuit opens, `provider-recovered` when it closes again; the
    probes in between send no event.
    """
    events.take_lock()
    previous = Provider.objects.filter(slug=slug).values_list("breaker", flat=True).first()
    if previous is None or previous == state:
        return False
    changed = Provider.objects.filter(slug=slug, breaker=previous).update(
        breaker=state, breaker_reason=reason[:_MAX_REASON], breaker_changed_at=timezone.now()
    )
    if changed and previous == BreakerState.CLOSED:
        _publish(EventName.PROVIDER_FAILING, slug, previous, state, reason)
    elif changed and state == BreakerState.CLOSED:
        _publish(EventName.PROVIDER_RECOVERED, slug, previous, state, reason)
    return bool(changed)


def _publish(name: EventName, slug: str, before: str, after: BreakerState, reason: str) -> None:
    failing = name is EventName.PROVIDER_FAILING
    events.publish(
        name=name,
        subject=slug,
        message=f"The provider '{slug}' gets no requests for now: {reason}"
        if failing
        else f"The provider '{slug}' answers again.",
        actor=_ACTOR,
        cause=reason[:255] if failing else "it answered",
        before={"breaker": before},
        after={"breaker": after.value},
    )
