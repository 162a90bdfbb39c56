"""Deletes rows that have passed their retention time, a few at a time, so that no other writer waits for long."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from models_app.models import GatewayProcess
from models_app.services.access_log import upkeep
from models_app.services.log_ins import brake
from models_app.services.retention import sizes
from models_app.services.retention.tables import RULES, Rule, history

# Rows of one transaction.
CHUNK = 500
# Of one table in one run: the next run continues, and other tables have their turn.
_MOST_CHUNKS = 200
# The recorder of the row that adds up processes whose own rows were deleted.
EARLIER = "earlier"
_COUNTS = ("recorded", "stored", "dropped", "quarantined", "cut_off")


def retain() -> None:
    """Delete what has passed its retention time, and report tables that are large."""
    upkeep.retain()
    brake.delete_old()
    for rule in RULES:
        delete_old(rule)
    add_up_processes()
    sizes.report()


def delete_old(rule: Rule, *, now: datetime | None = None) -> int:
    """Delete the old rows of one table; returns their number, without those that depend on them."""
    before = (now or timezone.now()) - rule.kept()
    deleted = 0
    for _ in range(_MOST_CHUNKS):
        found = _chunk(rule, before)
        if found:
            rule.model._default_manager.filter(pk__in=found).delete()
        deleted += len(found)
        if len(found) < CHUNK:
            break
    return deleted


def _chunk(rule: Rule, before: datetime) -> list[Any]:
    rows: QuerySet[Any] = rule.model._default_manager.all()
    if rule.keeps_last:
        last = rows.order_by("-pk").values_list("pk", flat=True).first()
        rows = rows.exclude(pk=last)
    if rule.by_id:
        # Without an index on the time: the oldest rows are enough.
        oldest = rows.order_by("pk").values_list("pk", rule.column)[:CHUNK]
        return [pk for pk, at in oldest if at < before]
    old = rows.filter(rule.where, **{f"{rule.column}__lt": before})
    return list(old.order_by(rule.column).values_list("pk", flat=True)[:CHUNK])


@transaction.atomic
def add_up_processes(*, now: datetime | None = None) -> int:
    """Replace the rows of web processes that ended long ago by one with their sums: metrics must not decrease."""
    before = (now or timezone.now()) - history()
    old = GatewayProcess.objects.filter(seen_at__lt=before).exclude(recorder=EARLIER)[:CHUNK]
    found = [row.pk for row in old]
    if not found:
        return 0
    rows = GatewayProcess.objects.filter(pk__in=found)
    sums = rows.aggregate(**{name: Sum(name) for name in _COUNTS})
    GatewayProcess.objects.get_or_create(recorder=EARLIER, defaults={"started_at": before, "seen_at": before})
    GatewayProcess.objects.filter(recorder=EARLIER).update(**{name: F(name) + sums[name] for name in _COUNTS})
    rows.delete()
    return len(found)
