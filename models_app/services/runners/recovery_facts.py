"""Records recoveries in the ledger and as events, with their figures."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.residency import recovery as policy
from models_app.domain.residency.ledger import (
    FactEvent,
    Figures,
    LedgerCause,
    LedgerKind,
    LedgerOutcome,
    LifecycleFact,
    Origin,
)
from models_app.models import Instance, Recovery
from models_app.services.catalog import ledger

ACTOR = "recovery"
_ORIGIN = Origin(LedgerCause.RECOVERY, ACTOR)


def record_given_up(row: Recovery) -> None:
    """One event and one fact for each time that a model is given up, with the time of the next attempt."""
    key, count = row.model.key, len(row.deaths)
    what = "It is tried again" if row.due_at else "Requests can load it again"
    again = f"{what} in {policy.rest(row.times_given_up) / 60:g} minutes"
    why = f"It died {count} times in a short time."
    event = FactEvent(
        EventName.RECOVERY_GIVEN_UP,
        f"{key} is given up for a while. {why} {again}; loading it by hand tries it at once.",
        cause=row.reason[:255],
        data={"deaths": count, "reason": row.reason, "next_attempt_at": _text(next_attempt_at(row))},
    )
    fact = LifecycleFact(
        LedgerKind.RECOVERY,
        key,
        LedgerOutcome.FAILED,
        _ORIGIN,
        reason=f"{why} {row.reason}",
        node=row.node,
        data={"deaths": count},
        event=event,
    )
    ledger.record(fact)


def next_attempt_at(row: Recovery) -> datetime | None:
    """When a model that was given up is tried again, or can be loaded by a request; None for any other."""
    if row.given_up_at is None:
        return None
    return row.due_at or row.given_up_at + timedelta(seconds=policy.rest(row.times_given_up))


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def record_recovered(row: Recovery, serving: Instance) -> None:
    """One event and one fact, with the seconds for which the model was away."""
    ready_at = serving.ready_at or timezone.now()
    away = max(0.0, ready_at.timestamp() - max(row.deaths, default=ready_at.timestamp()))
    event = FactEvent(
        EventName.INSTANCE_RECOVERED,
        f"{row.model.key} serves again, {away:.1f} seconds after it had stopped.",
        cause=row.reason[:255],
        data={"instance": str(serving.pk), "away_seconds": round(away, 3)},
    )
    fact = LifecycleFact(
        LedgerKind.RECOVERY,
        row.model.key,
        LedgerOutcome.DONE,
        _ORIGIN,
        reason=row.reason,
        figures=Figures(measured_seconds=round(away, 3)),
        data={"deaths": len(row.deaths)},
        event=event,
    )
    ledger.record(fact, instance=serving)
