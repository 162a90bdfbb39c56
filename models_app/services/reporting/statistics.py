"""Statistics for the API and the console."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils import timezone

from models_app.domain import periods
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import RunnerDied
from models_app.domain.measuring import scoring
from models_app.domain.periods import Period
from models_app.domain.states import LIVE_INSTANCE_STATES, InstanceState, ModelStatus
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.engines import control
from models_app.models import Activity, Instance, RegisteredModel, Route
from models_app.models.registry import words_of
from models_app.services.catalog import activity, usage
from models_app.services.coordination import connections
from models_app.services.nodes import nodes
from models_app.services.rollups import rollups
from models_app.services.runners import health

_CONCURRENCY = 16
# Short enough for a page to wait; a healthy runner answers in milliseconds.
_HEALTH_SECONDS = 1.0


def loaded() -> list[Instance]:
    """Live instances, each with `in_flight` and `memory_bytes` as its runner reports them now, and `health_shown`.

    `in_flight` is None where the runner does not answer or cannot be reached from this process.
    """
    return measured(list(Instance.objects.filter(state__in=LIVE_INSTANCE_STATES).select_related("model", "version")))


def measured(instances: list[Instance]) -> list[Instance]:
    """The same instances with the attributes that `loaded` describes."""
    if instances:
        # Concurrently: a runner that hangs must not delay the others by its time-out.
        with ThreadPoolExecutor(min(len(instances), _CONCURRENCY)) as pool:
            list(pool.map(_measure, instances))
        stale = nodes.stale()
        for instance in instances:
            answers = instance.answers  # type: ignore[attr-defined]
            instance.health_shown = health.shown(  # type: ignore[attr-defined]
                instance=instance, stale=stale, answers=answers
            )
    return instances


def _measure(instance: Instance) -> None:
    in_flight: int | None = None
    answers: bool | None = None
    if instance.state in (InstanceState.READY, InstanceState.DRAINING) and instance.socket:
        try:
            connections.release()
            report = control.health(instance.socket, timeout=_HEALTH_SECONDS)
            in_flight = report["in_flight"]
            instance.memory_bytes = report["memory"]["rss_bytes"]
            answers = True
        except RunnerDied:
            # A missing socket belongs to another machine, or its runner has just ended.
            answers = False if Path(instance.socket).exists() else None
    instance.in_flight = in_flight  # type: ignore[attr-defined]
    instance.answers = answers  # type: ignore[attr-defined]


def overview(*, since: datetime | None, until: datetime | None, limit: int) -> dict[str, Any]:
    """The body of the API's response: models, their use, and problems.

    `limit` bounds each list. The number of queries does not depend on the number of models.
    Raises InvalidRequest for an impossible period.
    """
    period = periods.period(since=since, until=until, now=timezone.now())
    used = _used(period)
    counts = _counts()
    return {
        "models": counts.represent() | {"current": _current()},
        "accesses": counts.accesses(),
        "period": {"from": period.start, "to": period.end} | _of_everything(period),
        "top_performing": _top_performing(used, limit),
        "most_used": _most_used(limit),
        "attention": _attention(used, limit),
    }


@dataclass(slots=True)
class _Counts:
    """Counts of registered models; `unwritten` are reads that are still in memory."""

    total: int = 0
    never_accessed: int = 0
    deprecated: int = 0
    gone: int = 0
    stored: int = 0
    unwritten: int = 0
    providers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    capabilities: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        self.total += row["count"]
        self.never_accessed += row["never"]
        self.gone += row["gone"]
        self.deprecated += row["count"] if row["deprecated"] else 0
        self.stored += row["accesses"]
        self.providers[row["provider__slug"]] += row["count"]
        self.statuses[row["status"]] += row["count"]
        for word in words_of(row["capability_index"]):
            self.capabilities[word] += row["count"]

    def represent(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "loaded": self.statuses[ModelStatus.LOADED],
            "deprecated": self.deprecated,
            "gone": self.gone,
            "never_accessed": self.never_accessed,
            "by_provider": dict(sorted(self.providers.items())),
            "by_status": {str(status): self.statuses[status] for status in ModelStatus},
            "by_capability": {str(word): self.capabilities[word] for word in Capability},
        }

    def accesses(self) -> dict[str, Any]:
        total = self.stored + self.unwritten
        return {"total": total, "average": round(total / self.total, 2) if self.total else 0.0}


def _counts() -> _Counts:
    """Count all models in one query: there are far fewer combinations of these columns than models."""
    groups = RegisteredModel.objects.order_by().values("provider__slug", "status", "deprecated", "capability_index")
    rows = groups.annotate(
        count=Count("pk"),
        accesses=Sum("access_count"),
        never=Count("pk", filter=Q(access_count=0)),
        gone=Count("gone_at"),
    )
    found, unwritten = activity.with_unwritten(lambda: list(rows))
    counts = _Counts(unwritten=sum(count for count, _ in unwritten.values()))
    for row in found:
        counts.add(row)
    return counts


def _current() -> str | None:
    return Route.objects.filter(name=CURRENT_ROUTE).values_list("target__key", flat=True).first()


def _of_everything(period: Period) -> dict[str, Any]:
    rows = Activity.objects.filter(model_key=rollups.ALL, hour__gte=period.start, hour__lt=period.end)
    shown = usage.represent(usage.total(rows))
    del shown["reads"]  # counted by model only
    return shown


def _used(period: Period) -> list[Mapping[str, Any]]:
    """Sums of each registered model with requests in the period, the busiest first."""
    rows = (
        Activity.objects.filter(hour__gte=period.start, hour__lt=period.end, requests__gt=0)
        .exclude(model_key__in=("", rollups.ALL))
        .order_by()
        .values("model_key")
        .annotate(
            request_count=Sum("requests"),
            failed=Sum("errors"),
            tokens=Sum("timed_tokens"),
            milliseconds=Sum("generation_ms"),
        )
    )
    registered = Exists(RegisteredModel.objects.filter(key=OuterRef("model_key")))
    found: list[Mapping[str, Any]] = list(rows.filter(registered))
    return sorted(found, key=lambda row: (-row["request_count"], row["model_key"]))


def _top_performing(used: list[Mapping[str, Any]], limit: int) -> list[dict[str, Any]]:
    ranked = [_ranked(row) for row in used]
    ranked.sort(key=lambda row: (-row["score"], row["key"]))
    return ranked[:limit]


def _ranked(row: Mapping[str, Any]) -> dict[str, Any]:
    success = (row["request_count"] - row["failed"]) / row["request_count"]
    speed = usage.speed(row["tokens"], row["milliseconds"])
    score = scoring.score(success_rate=success, tokens_per_second=speed or 0.0, inferences=row["request_count"])
    return {
        "key": row["model_key"],
        "score": round(score, 4),
        "success_rate": round(success, 4),
        "tokens_per_second": speed,
        "requests": row["request_count"],
    }


def _most_used(limit: int) -> list[dict[str, Any]]:
    """Models by their accesses since registration, those still in memory included."""
    stored = RegisteredModel.objects.filter(access_count__gt=0).order_by("-access_count", "key")
    keys, unwritten = activity.with_unwritten(lambda: list(stored.values_list("key", flat=True)[:limit]))
    found = activity.accesses_of({*keys, *unwritten})
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    return [{"key": key, "access_count": count, "last_accessed_at": last} for key, (count, last) in ranked[:limit]]


def _attention(used: list[Mapping[str, Any]], limit: int) -> dict[str, Any]:
    """Models to check: failed loads, loaded models without requests, and models with errors."""
    requested = {row["model_key"] for row in used}
    models = RegisteredModel.objects.filter(status__in=(ModelStatus.FAILED, ModelStatus.LOADED)).order_by("key")
    failed, unused = [], []
    for key, status, stage, reason, at in models.values_list(
        "key", "status", "failure_stage", "failure_reason", "failed_at"
    ):
        if status == ModelStatus.FAILED:
            failed.append({"key": key, "stage": stage, "reason": reason, "at": at})
        elif key not in requested:
            unused.append(key)
    failing = [
        {
            "key": row["model_key"],
            "requests": row["request_count"],
            "errors": row["failed"],
            "error_rate": round(row["failed"] / row["request_count"], 4),
        }
        for row in used
        if row["failed"]
    ]
    failing.sort(key=lambda row: (-row["error_rate"], row["key"]))
    return {
        "load_failed": failed[:limit],
        "loaded_and_not_asked": unused[:limit],
        "failing": failing[:limit],
    }
