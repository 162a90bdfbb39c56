"""Health checks of this node's runners: those that serve requests are trusted, idle ones compute a token periodically,
and those that hang are replaced."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from models_app.clocks import awake, missed
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import RunnerDied
from models_app.domain.residency import health as policy
from models_app.domain.residency.health import Health, Need, Seen
from models_app.domain.states import InstanceState
from models_app.engines import control, marks
from models_app.models import Instance
from models_app.services.coordination import connections
from models_app.services.runners import node, recovery

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 2.0
_PAUSE_AFTER_FAILURE = 0.2
# Three failed checks and the pauses between them take at most 15 seconds. A runner whose event loop runs answers within
# milliseconds; a busy machine can delay it by a second or two.
_ANSWER_SECONDS = 4.0
_CANARY_SECONDS = 4.0
_CONCURRENCY = 16
# The largest age of the stored time of the last success, which is only displayed.
_WRITE_EVERY = timedelta(seconds=10)
_ACTOR = "health"


@dataclass(slots=True)
class Watch:
    """The state of one worker's runners between checks."""

    seen: dict[UUID, Seen] = field(default_factory=dict)

    def pause(self) -> float:
        """Seconds until the next check: shorter while a runner fails."""
        failing = any(seen.failures for seen in self.seen.values())
        return _PAUSE_AFTER_FAILURE if failing else _INTERVAL_SECONDS

    def check_all(self) -> None:
        """Check every ready runner of this node, concurrently."""
        rows = Instance.objects.filter(node=settings.NOA_NODE, state=InstanceState.READY)
        found = list(rows.exclude(socket="").select_related("model"))
        self.seen = {instance.pk: self.seen.get(instance.pk, Seen(awake())) for instance in found}
        if found:
            with ThreadPoolExecutor(min(len(found), _CONCURRENCY), "health") as pool:
                list(pool.map(self._check, found))

    def _check(self, instance: Instance) -> None:
        before = missed()
        try:
            seen, problem = _probe(instance, self.seen[instance.pk])
            need = Need.NOTHING
            if problem and missed() > before:
                # This process stood still during the check: the runner had no time to answer, or stood still too.
                return
            if problem:
                seen, need = policy.after_failure(seen)
            self.seen[instance.pk] = seen
            _store(instance, seen, problem)
            if need == Need.REPLACE:
                _replace(instance, problem)
        finally:
            connection.close()


def _probe(instance: Instance, seen: Seen) -> tuple[Seen, str]:
    """Returns the new state of the runner, and the problem or ''."""
    try:
        connections.release()
        report = control.health(instance.socket, timeout=_ANSWER_SECONDS)
        seen, need = policy.after_answer(
            seen,
            steps=report["counters"].get("steps", 0),
            in_flight=report["in_flight"],
            now=awake(),
            canary_seconds=settings.NOA_CANARY_SECONDS,
        )
        if need == Need.CANARY:
            _compute_token(instance)
            seen = policy.after_success(seen, now=awake())
    except RunnerDied as error:
        return seen, error.message
    return seen, ""


def _compute_token(instance: Instance) -> None:
    """Compute one token, or one embedding; raises RunnerDied."""
    generates = Capability.TEXT_GENERATION in instance.model.capabilities
    control.canary(instance.socket, embeddings=not generates, timeout=_CANARY_SECONDS)


def _store(instance: Instance, seen: Seen, problem: str) -> None:
    """Store a change at once, and a repeated success only periodically."""
    health = Health.FAILING if problem else Health.HEALTHY
    now = timezone.now()
    fields: dict[str, str | datetime] = {}
    if health != instance.health:
        fields |= {"health": health, "health_since": now, "health_reason": problem[:500]}
    succeeded = now - timedelta(seconds=awake() - seen.succeeded_at)
    last = instance.last_success_at
    if not problem and (last is None or succeeded - last > _WRITE_EVERY):
        fields["last_success_at"] = succeeded
    if fields:
        Instance.objects.filter(pk=instance.pk, state=InstanceState.READY).update(**fields)


def _replace(instance: Instance, problem: str) -> None:
    """End a runner that hangs, then allow its restart: both together might not fit into memory."""
    runner = node.supervisor().get(str(instance.pk))
    log = runner.log_tail() if runner else ""
    # Before its end: a hang that its requests caused counts against them, and they are not sent to the next runner.
    hung = marks.blame(runner.pid, marks.path_of(instance.socket)) if runner else None
    failed = recovery.fail(
        instance=instance,
        what=f"runner hung: it failed {policy.FAILURES_ALLOWED} health checks in a row",
        reason=f"{problem} Its last lines:\n{log}",
        actor=_ACTOR,
        data={"log": log},
        not_before=node.STOP_GRACE,
        hung_requests=hung,
    )
    if failed:
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        recovery.release_hold(instance=instance)


@dataclass(frozen=True, slots=True)
class Shown:
    """Health for display; unknown on a node without a heartbeat."""

    state: Health
    since: datetime | None
    reason: str
    last_success_at: datetime | None


def shown(*, instance: Instance, stale: dict[str, float], answers: bool | None) -> Shown:
    """The health to display. `stale` is `nodes.stale()`; `answers` is None if the runner could not be checked now."""
    state, since, reason = Health(instance.health), instance.health_since, instance.health_reason
    if instance.state == InstanceState.READY and answers is False:
        state, reason = Health.FAILING, "It does not answer now."
    elif instance.node in stale:
        state = Health.UNKNOWN
        age = stale[instance.node]
        reason = f"The last heartbeat of the worker of node '{instance.node}' arrived {age:.0f} seconds ago."
    return Shown(state, since, reason, instance.last_success_at)


def is_failing(instance: Instance) -> bool:
    """Whether the runner of an instance from `statistics.loaded` does not answer."""
    found: Shown | None = getattr(instance, "health_shown", None)
    return found is not None and found.state == Health.FAILING
