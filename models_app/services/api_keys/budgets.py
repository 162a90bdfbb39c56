"""What keys have used of their month, and whether limits can be held exactly here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from models_app.domain.errors import Conflict
from models_app.domain.events import EventName
from models_app.domain.traffic import limits
from models_app.domain.traffic.limits import MICRO, Spent
from models_app.models import Activity, ApiKey
from models_app.services.events import events
from models_app.services.rollups import rollups

_ACTOR = "gateway"


def spent(*, key_ids: set[str], now: datetime) -> list[Spent]:
    """What these keys have used this month (UTC), by the roll-ups: a few seconds behind. One query."""
    if not key_ids:
        return []
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = (
        Activity.objects.filter(hour__gte=start, key_id__in=key_ids)
        .exclude(model_key=rollups.ALL)
        .order_by()
        .values("key_id")
        .annotate(prompt=Sum("prompt_tokens"), written=Sum("completion_tokens"), cost=Sum("cost_usd"))
    )
    month = limits.month_of(now.timestamp())
    return [Spent(row["key_id"], month, row["prompt"] + row["written"], round(row["cost"] * MICRO)) for row in rows]


def is_exact() -> bool:
    """Whether all requests of a key are counted in one place: in Redis, or in the only web process that there is."""
    alone = settings.NOA_EMBEDDED and settings.NOA_WEB_PROCESSES == 1
    return alone or settings.NOA_LIMITS_URL is not None


def require_exact(given: Mapping[str, Any]) -> None:
    """Raises Conflict for limits that several processes would each hold by themselves."""
    if any(given.get(name) for name in limits.COUNTED) and not is_exact():
        raise Conflict(
            "Limits need one place to count in, and several processes serve here. Set NOA_REDIS_URL, or use Redis as"
            " NOA_BROKER_URL, and restart.",
            code="limits_need_redis",
            param="limits",
        )


def keys_with_limits() -> list[str]:
    """The ids of usable keys for which something is counted."""
    found = ApiKey.objects.usable().values_list("key_id", "limits")
    kept = [(key_id, limits.effective(own, settings.NOA_KEY_LIMITS)) for key_id, own in found]
    return [key_id for key_id, one in kept if one is not None and one.counts]


@transaction.atomic
def report_store(*, answers: bool, why: str) -> None:
    """An event when limits are no longer held across processes, and when they are again."""
    events.publish(
        name=EventName.LIMITS_RESTORED if answers else EventName.LIMITS_DEGRADED,
        message="Redis answers again: limits hold across processes."
        if answers
        else "Redis does not answer: each process holds limits by itself, so that more may pass.",
        actor=_ACTOR,
        cause=why[:255],
    )
