"""The facts of the console's first page, read together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils import timezone

from models_app.domain.events import EventName
from models_app.domain.measuring.attention import Warning
from models_app.domain.states import ACTIVE_JOB_STATES
from models_app.domain.traffic.routing import CURRENT_ROUTE
from models_app.models import Activity, Event, Instance, Job, Node, RegisteredModel, Route
from models_app.services.reporting import attention, statistics
from models_app.services.rollups import live_metrics, rollups
from models_app.services.rollups.live_metrics import Metrics, Point
from models_app.services.rollups.rollups import Totals

EVENTS_SHOWN = 9
# Events that precede another one, which is shown.
STEPS = (EventName.MODEL_LOADING, EventName.MODEL_WARMING_UP, EventName.MODEL_WARMED_UP)
# Hours of the small curves beside the figures.
HOURS_SHOWN = 24


@dataclass(slots=True)
class NodeMemory:
    """The memory of one machine, in bytes, and its loaded copies. None is unknown."""

    name: str
    total: int | None = None
    free: int | None = None
    budget: int | None = None
    lost: bool = False
    instances: list[Instance] = field(default_factory=list)

    @property
    def used(self) -> int:
        """The bytes that models use."""
        return sum(instance.memory_bytes or 0 for instance in self.instances)

    @property
    def room(self) -> int | None:
        """The bytes that models can use in total."""
        return self.budget or self.total


@dataclass(slots=True)
class Traffic:
    """Requests through the gateway, from sums by minute and hour."""

    # The last minutes and the last hour, and each minute of that hour.
    minutes: Metrics
    hour: Metrics
    points: list[Point]
    today: Totals
    # The same span of the day before.
    before: Totals
    # Each of the last hours, the oldest first; the last one is incomplete.
    hours: list[Totals]


@dataclass(slots=True)
class Facts:
    now: datetime
    model_count: int
    current: RegisteredModel | None
    routes: list[Route]
    loaded: list[Instance]
    nodes: list[NodeMemory]
    traffic: Traffic
    jobs: list[Job]
    events: list[Event]
    warnings: list[Warning]


def facts() -> Facts:
    """Reads all facts with about ten queries, whatever the amount of data; requests the health of each runner."""
    now = timezone.now()
    loaded = statistics.loaded()
    nodes = _nodes(loaded)
    routes = list(Route.objects.select_related("target").order_by("name"))
    jobs = list(Job.objects.filter(state__in=ACTIVE_JOB_STATES).order_by("created_at"))
    return Facts(
        now=now,
        model_count=RegisteredModel.objects.count(),
        current=next((route.target for route in routes if route.name == CURRENT_ROUTE), None),
        routes=routes,
        loaded=loaded,
        nodes=nodes,
        traffic=_traffic(now),
        jobs=jobs,
        events=list(Event.objects.exclude(name__in=STEPS).order_by("-id")[:EVENTS_SHOWN]),
        warnings=attention.warnings(
            now=now,
            loaded=loaded,
            jobs=jobs,
            memory=[(node.name, node.used, node.room) for node in nodes],
        ),
    )


def _nodes(loaded: list[Instance]) -> list[NodeMemory]:
    found = {
        node.name: NodeMemory(
            name=node.name,
            total=node.memory_total_bytes,
            free=node.memory_free_bytes,
            budget=node.memory_budget_bytes,
            lost=node.lost_at is not None,
        )
        for node in Node.objects.order_by("name")
    }
    for instance in loaded:
        found.setdefault(instance.node, NodeMemory(instance.node)).instances.append(instance)
    return list(found.values())


def _traffic(now: datetime) -> Traffic:
    hour = now.replace(minute=0, second=0, microsecond=0)
    midnight = hour.replace(hour=0)
    since = midnight - timedelta(days=1)
    rows = {row.hour: row for row in Activity.objects.filter(model_key=rollups.ALL, hour__gte=since)}
    starts = [hour - timedelta(hours=back) for back in range(HOURS_SHOWN - 1, -1, -1)]
    return Traffic(
        minutes=live_metrics.live(window="5m", now=now).total,
        hour=live_metrics.live(window="1h", now=now).total,
        points=live_metrics.series(window="1h", now=now).points,
        today=_sum(rows, lambda at: at >= midnight),
        before=_sum(rows, lambda at: at < hour - timedelta(days=1)),
        hours=[_sum(rows, start.__eq__) for start in starts],
    )


def _sum(rows: dict[datetime, Activity], is_included: Callable[[datetime], bool]) -> Totals:
    totals = Totals()
    for at, row in rows.items():
        if is_included(at):
            rollups.merge(totals, row)
    return totals
