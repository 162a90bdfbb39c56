"""Watches the runners of this node: what serves is believed, what is idle computes a token now and then, what hangs is
replaced."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from models_app.domain.catalog.capabilities import Capability
from models_app.domain.errors import RunnerDied
from models_app.domain.residency import health as policy
from models_app.domain.residency.health import Health, Need, Seen
from models_app.domain.states import InstanceState
from models_app.engines import control
from models_app.models import Instance
from models_app.services.runners import node, recovery

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_PAUSE_AFTER_FAILURE = 0.2
# Three looks that fail and the pauses between them take at most 15 seconds. A runner whose loop is not stopped answers
# within milliseconds; a busy machine may delay it by a second or two.
_ANSWER_SECONDS = 4.0
_CANARY_SECONDS = 4.0
_AT_ONCE = 16
# How old the stored moment of the last success may get: it is written for people.
_WRITE_EVERY = timedelta(seconds=10)
_ACTOR = "health"


@dataclass(slots=True)
class Watch:
    """What one worker knows of its runners, from look to look."""

    seen: dict[UUID, Seen] = field(default_factory=dict)

    def pause(self) -> float:
        """Seconds until the next look: one that fails is looked at again at once."""
        failing = any(seen.failures for seen in self.seen.values())
        return _PAUSE_AFTER_FAILURE if failing else _LOOK_SECONDS

    def check_all(self) -> None:
        """Look at every ready runner of this node, all at once."""
        rows = Instance.objects.filter(node=settings.NOA_NODE, state=InstanceState.READY)
        found = list(rows.exclude(socket="").select_related("model"))
        self.seen = {one.pk: self.seen.get(one.pk, Seen(monotonic())) for one in found}
        if found:
            with ThreadPoolExecutor(min(len(found), _AT_ONCE), "health") as pool:
                list(pool.map(self._look_at, found))

    def _look_at(self, instance: Instance) -> None:
        try:
            seen, problem = _ask(instance, self.seen[instance.pk])
            need = Need.NOTHING
            if problem:
                seen, need = policy.after_failure(seen)
            self.seen[instance.pk] = seen
            _note(instance, seen, problem)
            if need == Need.REPLACE:
                _replace(instance, problem)
        finally:
            connection.close()


def _ask(instance: Instance, seen: Seen) -> tuple[Seen, str]:
    """What is known after this look, and what is wrong, or ''."""
    try:
        told = control.health(instance.socket, timeout=_ANSWER_SECONDS)
        seen, need = policy.after_answer(
            seen,
            steps=told["counters"].get("steps", 0),
            in_flight=told["in_flight"],
            now=monotonic(),
            canary_seconds=settings.NOA_CANARY_SECONDS,
        )
        if need == Need.CANARY:
            _sing(instance)
            seen = policy.after_success(seen, now=monotonic())
    except RunnerDied as error:
        return seen, error.message
    return seen, ""


def _sing(instance: Instance) -> None:
    """One token, or one embedding; raises RunnerDied."""
    generates = Capability.TEXT_GENERATION in instance.model.capabilities
    control.canary(instance.socket, embeddings=not generates, timeout=_CANARY_SECONDS)


def _note(instance: Instance, seen: Seen, problem: str) -> None:
    """Write down what changed; that all is well only now and then."""
    health = Health.FAILING if problem else Health.HEALTHY
    now = timezone.now()
    fields: dict[str, str | datetime] = {}
    if health != instance.health:
        fields |= {"health": health, "health_since": now, "health_reason": problem[:500]}
    succeeded = now - timedelta(seconds=monotonic() - seen.succeeded_at)
    last = instance.last_success_at
    if not problem and (last is None or succeeded - last > _WRITE_EVERY):
        fields["last_success_at"] = succeeded
    if fields:
        Instance.objects.filter(pk=instance.pk, state=InstanceState.READY).update(**fields)


def _replace(instance: Instance, problem: str) -> None:
    """End a runner that hangs, then start another: both would not fit into memory."""
    runner = node.supervisor().get(str(instance.pk))
    log = runner.log_tail() if runner else ""
    failed = recovery.fail(
        instance=instance,
        what=f"runner hung: it failed {policy.FAILURES_ALLOWED} looks in a row",
        reason=f"{problem} Its last lines:\n{log}",
        actor=_ACTOR,
        data={"log": log},
        not_before=node.STOP_GRACE,
    )
    if failed:
        node.end_runner(instance_id=str(instance.pk), grace=node.STOP_GRACE)
        recovery.hasten(instance=instance)


@dataclass(frozen=True, slots=True)
class Shown:
    """Health as people see it: what nobody looks after any more is not called healthy."""

    state: Health
    since: datetime | None
    reason: str
    last_success_at: datetime | None


def shown(*, instance: Instance, stale: dict[str, float], answers: bool | None) -> Shown:
    """`stale` is `nodes.stale()`; `answers` whether the runner did
    just now, None where it could not be asked."""
    state, since, reason = Health(instance.health), instance.health_since, instance.health_reason
    if instance.state == InstanceState.READY and answers is False:
        state, reason = Health.FAILING, "It does not answer now."
    elif instance.node in stale:
        state = Health.UNKNOWN
        reason = f"The worker of node '{instance.node}' was last heard of {stale[instance.node]:.0f} seconds ago."
    return Shown(state, since, reason, instance.last_success_at)


def is_failing(instance: Instance) -> bool:
    """Of an instance as `statistics.loaded` has it: whether its runner does not answer."""
    told: Shown | None = getattr(instance, "health_shown", None)
    return told is not None and told.state == Health.FAILING
