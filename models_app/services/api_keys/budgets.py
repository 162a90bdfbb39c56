"""The spending of API keys in the current month, and whether this installation can enforce limits exactly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from models_app.domain.errors import BudgetExceeded, Conflict
from models_app.domain.events import EventName
from models_app.domain.traffic import limits
from models_app.domain.traffic.limits import MICRO, Spent
from models_app.models import Activity, ApiKey
from models_app.services.events import events
from models_app.services.rollups import rollups

_ACTOR = "gateway"


def spent(*, key_ids: set[str], now: datetime) -> list[Spent]:
    """The spending of these keys this month (UTC), from the roll-ups: a few seconds behind. One query."""
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


def require_unspent(*, key_id: str, now: datetime) -> None:
    """Raises BudgetExceeded for a key that has used its tokens or dollars of this month."""
    key = ApiKey.objects.filter(key_id=key_id).first() if key_id else None
    found = limits.effective(key.limits, settings.NOA_KEY_LIMITS) if key else None
    if found is None or not found.counts_months:
        return
    for used in spent(key_ids={key_id}, now=now):
        tokens, dollars = found.monthly_tokens, found.monthly_budget_usd
        over_tokens = tokens is not None and used.tokens >= tokens
        if over_tokens or (dollars is not None and used.micro_usd >= dollars * MICRO):
            raise BudgetExceeded(
                "This API key has used its tokens or US dollars of this month, and requests to this model cost both. "
                "It works again when the next month begins (UTC), or with a higher limit.",
                retry_after=limits.until_next_month(now.timestamp()),
            )


def is_exact() -> bool:
    """Whether all requests of a key are counted in one place: in Redis, or in the only web process."""
    alone = settings.NOA_EMBEDDED and settings.NOA_WEB_PROCESSES == 1
    return alone or settings.NOA_LIMITS_URL is not None


def require_exact(requested: Mapping[str, Any]) -> None:
    """Raises Conflict for limits that several processes would each enforce separately."""
    if any(requested.get(name) for name in limits.COUNTED) and not is_exact():
        raise Conflict(
            "Limits need a shared counter, because several processes serve here. Set NOA_REDIS_URL, or use Redis as"
            " NOA_BROKER_URL, and restart.",
            code="limits_need_redis",
            param="limits",
        )


def keys_with_limits() -> list[str]:
    """The ids of usable keys with a limit that needs counting."""
    found = ApiKey.objects.usable().values_list("key_id", "limits")
    kept = [(key_id, limits.effective(own, settings.NOA_KEY_LIMITS)) for key_id, own in found]
    return [key_id for key_id, merged in kept if merged is not None and merged.counts]


@transaction.atomic
def report_store(*, answers: bool, why: str) -> None:
    """Publish an event when limits stop being enforced across processes, and when they are again."""
    events.publish(
        name=EventName.LIMITS_RESTORED if answers else EventName.LIMITS_DEGRADED,
        message="Redis answers again: limits are enforced across processes."
        if answers
        else "Redis does not answer: each process enforces limits separately, so that more requests can pass.",
        actor=_ACTOR,
        cause=why[:255],
    )
