"""The number of requests that wait for each model, across all web processes.

The database's clock decides what has expired. What seems to last longer than any demand does was published before that
clock was set back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Min, Q, Sum
from django.db.models.functions import Now

from models_app.domain.residency.demand import ModelDemand
from models_app.models import Demand, RegisteredModel

# Each process publishes its demand every second; that of a process that stopped or hangs expires.
EXPIRES_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """The requests for one model. `since` is the arrival of the oldest."""

    count: int
    since: datetime


def publish(*, process: str, demands: Iterable[ModelDemand]) -> None:
    """Replace the demand of this process with `demands`."""
    by_key = {item.key: item for item in demands}
    known = dict(RegisteredModel.objects.filter(key__in=by_key).values_list("key", "pk"))
    expires_at = Now() + timedelta(seconds=EXPIRES_SECONDS)
    rows = [
        Demand(
            process=process,
            model_id=known[key],
            waiting=item.waiting,
            since=datetime.fromtimestamp(item.since, UTC),
            expires_at=expires_at,
        )
        for key, item in by_key.items()
        if key in known
    ]
    with transaction.atomic():
        Demand.objects.filter(process=process).exclude(model_id__in=known.values()).delete()
        Demand.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["process", "model"],
            update_fields=["waiting", "since", "expires_at"],
        )


def waiting() -> dict[int, Waiting]:
    """The waiting requests, by the model's id; only models with demand."""
    rows = (
        Demand.objects.filter(_is_current(), waiting__gt=0)
        .values_list("model_id")
        .annotate(Sum("waiting"), Min("since"))
    )
    return {model_id: Waiting(count, since) for model_id, count, since in rows}


def is_waited_for(*, model: RegisteredModel) -> bool:
    return Demand.objects.filter(_is_current(), model=model, waiting__gt=0).exists()


def clear_expired() -> None:
    """Delete the demand of processes that stopped publishing."""
    Demand.objects.exclude(_is_current()).delete()


def _is_current() -> Q:
    return Q(expires_at__gt=Now(), expires_at__lte=Now() + timedelta(seconds=EXPIRES_SECONDS))
