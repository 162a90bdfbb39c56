"""Admits loads, one at a time per node, once there is room for them: the only place that decides about memory.

Every load passes through it, in the one process that owns the node's runners. Loads that have to wait form a queue:
only the first can have other models evicted, and a later one overtakes it only where enough memory remains for the
first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from django.conf import settings
from django.utils import timezone

from models_app.domain.errors import Conflict, InsufficientMemory, RunnerDied, Unavailable
from models_app.domain.residency import admission
from models_app.domain.residency.admission import Decision, Evict, Fits, LoadRequest, Memory, Refuse, Wait
from models_app.domain.states import InstanceState
from models_app.engines import control, devices
from models_app.models import Instance, Job
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import demand, eviction
from models_app.services.lifecycle.predictions import Prediction
from models_app.services.runners import instances, node

# A runner's event loop answers in milliseconds; one that hangs must not delay every load, and counts as busy.
_HEALTH_SECONDS = 0.5
# Loads that can wait at once. Each holds a thread of the worker, and other jobs need some too.
_MAX_WAITING = 16
_HOLDING = (InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING)
_STAGES = {
    InstanceState.STARTING: admission.Stage.STARTING,
    InstanceState.READY: admission.Stage.READY,
    InstanceState.DRAINING: admission.Stage.DRAINING,
}


@dataclass(eq=False)
class _Ticket:
    """A load in the queue."""

    request: LoadRequest
    since: float = field(default_factory=monotonic)

    def now(self, *, may_evict: bool) -> LoadRequest:
        return replace(self.request, waited=monotonic() - self.since, may_evict=may_evict)


_deciding = threading.Lock()
_queue: list[_Ticket] = []


def observe(*, query_runners: bool) -> admission.Node:
    """This node's memory and the models that hold it.

    With `query_runners` the runners report whether they are busy; without it none counts as busy.
    """
    rows = Instance.objects.filter(node=settings.NOA_NODE, state__in=_HOLDING, version__isnull=False).select_related(
        "model"
    )
    found = [(row, _claim(row)) for row in rows]
    free, bound = _free(found)
    # Requests that were admitted a moment ago, and have not reached the runner, keep a model too.
    requested = demand.waiting() if query_runners else {}
    return admission.Node(
        free=free,
        residents=tuple(_resident(row, claim.memory, query_runners, row.model_id in requested) for row, claim in found),
        bound=bound,
        slots=settings.NOA_MAX_LOADED_MODELS,
    )


@dataclass(frozen=True, slots=True)
class _Claim:
    """The memory that an instance can use, and the part of it that the machine already counts as used."""

    memory: Memory
    taken: int


def _claim(row: Instance) -> _Claim:
    held = devices.held(row.pid) if row.pid else None
    # A load does not use all of its memory at once: the prediction covers what follows, the kernel what is used now.
    ram = max(row.memory_bytes or 0, row.memory_estimate_bytes or 0, held.resident if held else 0)
    # The kernel counts weights mapped from a file as free; if they were, they would be read from disk again and again.
    return _Claim(Memory(ram=ram, vram=row.memory_vram_bytes or 0), held.own if held else 0)


def _free(found: list[tuple[Instance, _Claim]]) -> tuple[Memory, str]:
    ram = devices.memory()[1] - sum(max(0, claim.memory.ram - claim.taken) for _, claim in found)
    bound = f"the machine of node '{settings.NOA_NODE}'"
    budget = settings.NOA_MEMORY_BUDGET
    if budget is not None:
        left = budget - sum(claim.memory.ram for _, claim in found)
        if left < ram:
            ram, bound = left, f"the budget of {budget / 2**30:.1f} GiB (NOA_MEMORY_BUDGET)"
    vram = sum(gpu["memory_free_bytes"] for gpu in devices.gpus()) - sum(
        claim.memory.vram for row, claim in found if row.state == InstanceState.STARTING
    )
    return Memory(ram=ram, vram=vram), bound


def _resident(row: Instance, memory: Memory, query_runner: bool, requested: bool) -> admission.Resident:
    now = timezone.now()
    since = row.ready_at or now
    # It was loaded in the future: the clock was set back since. Then it need not stay for that much longer.
    resident = min_residency(row) if since > now else (now - since).total_seconds()
    unused = max(0.0, (now - max(since, row.last_used_at or since)).total_seconds())
    busy, idle = _use(row) if query_runner and row.state == InstanceState.READY else (False, None)
    return admission.Resident(
        key=row.model.key,
        instance_id=str(row.pk),
        memory=memory,
        stage=_STAGES[InstanceState(row.state)],
        busy=busy or requested,
        pinned=row.model.pinned,
        priority=row.model.priority,
        idle_seconds=unused if idle is None else idle,
        resident_seconds=resident,
        min_residency=min_residency(row),
    )


def min_residency(row: Instance) -> float:
    own = row.model.min_residency_seconds
    return settings.NOA_MIN_RESIDENCY if own is None else float(own)


def _use(row: Instance) -> tuple[bool, float | None]:
    """Whether it is busy, and for how many seconds it has been idle, as its runner reports."""
    try:
        health = control.health(row.socket, timeout=_HEALTH_SECONDS)
    except RunnerDied:
        return True, None
    return bool(health["in_flight"] or health["queued"]), health.get("idle_seconds")


def assess(request: LoadRequest) -> Decision:
    """The decision on a load if it started now; changes nothing."""
    quick = admission.decide(request, observe(query_runners=False))
    if isinstance(quick, Fits | Refuse):
        return quick
    return admission.decide(request, observe(query_runners=True))


def admit(*, run: Run, instance: Instance, request: LoadRequest, prediction: Prediction) -> Decision:
    """Wait until the load can start: its memory is reserved and the instance `starting`.

    Returns the decision that made room.

    Raises InsufficientMemory when it can never fit, Unavailable when there is no room in time, Conflict when the
    instance was stopped meanwhile, Cancelled.
    """
    with _queued(request) as ticket:
        decision = _try(ticket, run, instance, prediction)
        if isinstance(decision, Fits):
            return decision
        with run.step("make room", _describe(decision)) as set_detail:
            return _wait_for_room(ticket, run, instance, prediction, decision, set_detail)


@contextmanager
def _queued(request: LoadRequest) -> Iterator[_Ticket]:
    ticket = _Ticket(request)
    with _deciding:
        if len(_queue) >= _MAX_WAITING:
            raise Unavailable(
                f"{_MAX_WAITING} loads are waiting for memory already. Try again later.",
                code="too_many_loads",
                retry_after=10,
            )
        _queue.append(ticket)
    try:
        yield ticket
    finally:
        with _deciding:
            _queue.remove(ticket)


def _try(ticket: _Ticket, run: Run, instance: Instance, prediction: Prediction) -> Decision:
    """Decide, and reserve the memory where there is room. Serialized: two that only fit alone never both start."""
    with _deciding:
        request = ticket.now(may_evict=_may_evict(run))
        ahead = [other.request for other in _queue[: _queue.index(ticket)]]
        decision = _decide_behind(request, ahead) if ahead else assess(request)
        if isinstance(decision, Fits):
            _reserve(instance, prediction)
        return decision


def _decide_behind(request: LoadRequest, ahead: list[LoadRequest]) -> Decision:
    here = observe(query_runners=False)
    decision = admission.decide(request, here)
    if isinstance(decision, Refuse) or admission.passes(request, here, ahead):
        return decision
    return Wait(f"{ahead[0].key} is ahead of it in the queue.", getattr(decision, "candidates", ()))


def _may_evict(run: Run) -> bool:
    """Reads the row each time: a client with that permission can have joined the job."""
    if not run.job.may_evict:
        run.job.may_evict = Job.objects.filter(pk=run.job.pk, may_evict=True).exists()
    return run.job.may_evict


def _reserve(instance: Instance, prediction: Prediction) -> None:
    moved = instances.move(
        instance=instance,
        to=InstanceState.STARTING,
        memory_estimate_bytes=prediction.memory.ram,
        memory_vram_bytes=prediction.memory.vram,
        predicted_load_seconds=prediction.seconds,
    )
    if not moved:
        raise Conflict(f"'{instance.model.key}' was stopped before its load began.", code="load_cancelled")
    instance.memory_estimate_bytes = prediction.memory.ram
    instance.predicted_load_seconds = prediction.seconds


def _wait_for_room(
    ticket: _Ticket,
    run: Run,
    instance: Instance,
    prediction: Prediction,
    decision: Decision,
    set_detail: Callable[[str], None],
) -> Decision:
    acted_on = decision
    deadline = monotonic() + settings.NOA_LOAD_TIMEOUT
    while True:
        if isinstance(decision, Refuse):
            raise refusal(ticket.request, decision)
        if isinstance(decision, Evict):
            acted_on = decision
            for victim in decision.victims:
                eviction.evict(run=run, resident=victim, request=ticket.request, candidates=decision.candidates)
        elif isinstance(decision, Wait):
            for victim in decision.drain:
                eviction.drain(run=run, resident=victim, request=ticket.request, candidates=decision.candidates)
            instances.wait_for_change()
        run.check_cancelled()
        # Raises once this process is no longer the worker of the node, or is shutting down.
        node.supervisor().check_open()
        if monotonic() > deadline:
            raise _too_late(ticket.request, decision)
        decision = _try(ticket, run, instance, prediction)
        if isinstance(decision, Fits):
            return acted_on
        set_detail(_describe(decision))


def _describe(decision: Decision) -> str:
    if isinstance(decision, Evict):
        return f"unloading {', '.join(victim.key for victim in decision.victims)}"
    return getattr(decision, "why", "")


def _too_late(request: LoadRequest, decision: Decision) -> Unavailable:
    return Unavailable(
        f"There was no room for '{request.key}' within {settings.NOA_LOAD_TIMEOUT:g} s (NOA_LOAD_TIMEOUT): "
        f"{_describe(decision)} Try again later, or unload another model.",
        code="no_room_in_time",
        retry_after=30,
    )


def refusal(request: LoadRequest, decision: Refuse, *, largest_context: int | None = None) -> InsufficientMemory:
    """The error for a load that cannot fit: what it needs, what can be freed, and what to do."""
    need, most = request.need, decision.most
    short_of_vram = need.vram > most.vram and need.ram <= most.ram
    needed, had = (need.vram, most.vram) if short_of_vram else (need.ram, most.ram)
    kind = " of GPU memory" if short_of_vram else ""
    smaller = f" A context of {largest_context} tokens would fit: 'n_ctx', or 'fit'." if largest_context else ""
    return InsufficientMemory(
        f"'{request.key}' needs about {gib(needed)}{kind}; at most {gib(max(0, had))} can be freed: {decision.why}."
        f"{smaller or ' Load it with a smaller n_ctx, or unload, unpin or move other models.'}",
        details={
            "needed_bytes": needed,
            "free_bytes": max(0, had),
            "largest_context": largest_context,
            "kept": [candidate.as_dict() for candidate in decision.candidates if candidate.verdict == "stays"],
        },
    )


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GiB"


def candidates_of(decision: Decision) -> list[dict[str, Any]]:
    return [candidate.as_dict() for candidate in decision.candidates]
