"""Warnings for operators: failed models, stuck loads and jobs, memory that is nearly used up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count

from models_app.domain.measuring.attention import (
    BUDGET_NEAR,
    EVICTIONS_AN_HOUR,
    Warning,
    budget_is_near,
    is_stuck,
)
from models_app.domain.residency.ledger import LedgerKind
from models_app.domain.states import InstanceState, JobState, ModelStatus
from models_app.models import Instance, Job, LedgerEntry, Provider, RegisteredModel
from models_app.services.runners import health

# The linked lists show the others.
_FAILURES_SHOWN = 5


def warnings(
    *,
    now: datetime,
    loaded: Sequence[Instance],
    jobs: Iterable[Job],
    memory: Iterable[tuple[str, int, int | None]],
) -> list[Warning]:
    """All warnings, the worst first; three queries. `memory` has each node's name, and its used and available bytes."""
    found = [
        *_failed(),
        *_providers(),
        *_stuck(now, loaded, jobs),
        *_unresponsive(loaded),
        *_evicted(now),
        *_full(memory),
    ]
    return sorted(found, key=lambda warning: warning.tone != "bad")


def _failed() -> Iterable[Warning]:
    rows = RegisteredModel.objects.filter(status=ModelStatus.FAILED).order_by("-failed_at")
    for key, reason in rows.values_list("key", "failure_reason")[:_FAILURES_SHOWN]:
        first = reason.partition("\n")[0]
        yield Warning("bad", f"{key} failed: {first or 'the reason is unknown.'}", "model", key)


def _providers() -> Iterable[Warning]:
    rows = Provider.objects.filter(enabled=True).exclude(breaker="closed").order_by("slug")
    for slug, reason in rows.values_list("slug", "breaker_reason"):
        yield Warning("bad", f"The provider {slug} gets no requests for now. {reason}", "provider", slug)


def _stuck(now: datetime, loaded: Iterable[Instance], jobs: Iterable[Job]) -> Iterable[Warning]:
    for instance in loaded:
        age = (now - instance.created_at).total_seconds()
        starting = instance.state in (InstanceState.QUEUED, InstanceState.STARTING)
        if starting and is_stuck(seconds=age, limit=settings.NOA_LOAD_TIMEOUT):
            sentence = f"{instance.model.key} is still {instance.state} and should be ready by now."
            yield Warning("bad", sentence, "model", instance.model.key)
    for job in jobs:
        waited = (now - job.created_at).total_seconds()
        if job.state == JobState.QUEUED and is_stuck(seconds=waited, limit=0.0):
            sentence = f"No worker has taken the job to {job.kind} {job.subject} yet. Check that one is running."
            yield Warning("bad", sentence, "job", str(job.pk))


def _unresponsive(loaded: Iterable[Instance]) -> Iterable[Warning]:
    for instance in loaded:
        if instance.state == InstanceState.READY and health.is_failing(instance):
            sentence = f"{instance.model.key} is loaded, but its runner does not answer."
            yield Warning("bad", sentence, "model", instance.model.key)


def _evicted(now: datetime) -> Iterable[Warning]:
    rows = (
        LedgerEntry.objects.filter(kind=LedgerKind.EVICTION, at__gte=now - timedelta(hours=1))
        .order_by()
        .values("model_key")
        .annotate(count=Count("pk"))
        .filter(count__gte=EVICTIONS_AN_HOUR)
    )
    for row in rows:
        sentence = (
            f"{row['model_key']} was evicted {row['count']} times in the last hour: more models are requested "
            "than fit into memory."
        )
        yield Warning("warn", sentence, "model", row["model_key"])


def _full(memory: Iterable[tuple[str, int, int | None]]) -> Iterable[Warning]:
    for name, used, room in memory:
        if budget_is_near(used=used, budget=room):
            sentence = f"Models on '{name}' take more than {BUDGET_NEAR:.0%} of its memory budget."
            yield Warning("warn", sentence, "node", name)
