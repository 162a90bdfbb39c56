"""Lets loads begin, one at a time per node, once there is room for them: the only place that decides about memory.

Whoever loads asks here, in the one process that owns the node's runners. Those that have to wait stand in a queue: only
the first of it may have others evicted, and a later one starts before it only where that takes nothing from it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from django.conf import settings
from django.utils import timezone

from models_app.domain.errors import Conflict, InsufficientMemory, RunnerDied, Unavailable
from models_app.domain.residency import admission
from models_app.domain.residency.admission import Decision, Evict, Fits, Memory, Refuse, Wait, Wish
from models_app.domain.states import InstanceState
from models_app.engines import control, devices
from models_app.models import Instance, Job
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import demand, eviction
from models_app.services.lifecycle.predictions import Prediction
from models_app.services.runners import instances, node

# A runner's event loop answers in milliseconds; one that hangs must not hold up every load, and counts as busy.
_ASK_SECONDS = 0.5
# Loads that wait at once. Each holds a thread of the worker, and others need some too.
_MOST_WAITING = 16
_HOLDING = (InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING)
_STAGES = {
    InstanceState.STARTING: admission.Stage.STARTING,
    InstanceState.READY: admission.Stage.READY,
    InstanceState.DRAINING: admission.Stage.DRAINING,
}


@dataclass(eq=False)
class _Ticket:
    """A load in the queue."""

    wish: Wish
    since: float = field(default_factory=monotonic)

    def now(self, *, may_evict: bool) -> Wish:
        return replace(self.wish, waited=monotonic() - self.since, may_evict=may_evict)


_deciding = threading.Lock()
_queue: list[_Ticket] = []


def look(*, ask: bool) -> admission.Node:
    """This node's memory and who holds it. `ask` asks runners what they are doing; else nobody is busy."""
    rows = Instance.objects.filter(node=settings.NOA_NODE, state__in=_HOLDING, version__isnull=False).select_related(
        "model"
    )
    found = [(row, _claim(row)) for row in rows]
    free, bound = _free(found)
    # Requests that were let in a moment ago, and have not reached its runner, keep a model too.
    wanted = demand.waiting() if ask else {}
    return admission.Node(
        free=free,
        residents=tuple(_resident(row, claim.memory, ask, row.model_id in wanted) for row, claim in found),
        bound=bound,
        slots=settings.NOA_MAX_LOADED_MODELS,
    )


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an instance may come to hold, and what of it is taken from the machine's free memory already."""

    memory: Memory
    taken: int


def _claim(row: Instance) -> _Claim:
    held = devices.held(row.pid) if row.pid else None
    # After a load not all is used that will be; the prediction knows of it, and of what is used now the kernel does.
    ram = max(row.memory_bytes or 0, row.memory_estimate_bytes or 0, held.resident if held else 0)
    # Weights that are mapped from a file count as free to the kernel: to take them would be to read them again for ever.
    return _Claim(Memory(ram=ram, vram=row.memory_vram_bytes or 0), held.own if held else 0)


def _free(found: list[tuple[Instance, _Claim]]) -> tuple[Memory, str]:
    ram = devices.memory()[1] - sum(max(0, one.memory.ram - one.taken) for _, one in found)
    bound = f"the machine of node '{settings.NOA_NODE}'"
    budget = settings.NOA_MEMORY_BUDGET
    if budget is not None:
        left = budget - sum(one.memory.ram for _, one in found)
        if left < ram:
            ram, bound = left, f"the budget of {budget / 2**30:.1f} GiB (NOA_MEMORY_BUDGET)"
    vram = sum(gpu["memory_free_bytes"] for gpu in devices.gpus()) - sum(
        one.memory.vram for row, one in found if row.state == InstanceState.STARTING
    )
    return Memory(ram=ram, vram=vram), bound


def _resident(row: Instance, memory: Memory, ask: bool, wanted: bool) -> admission.Resident:
    now = timezone.now()
    since = row.ready_at or now
    resident = (now - since).total_seconds()
    unused = (now - max(since, row.last_used_at or since)).total_seconds()
    busy, idle = _use(row) if ask and row.state == InstanceState.READY else (False, None)
    return admission.Resident(
        key=row.model.key,
        instance_id=str(row.pk),
        memory=memory,
        stage=_STAGES[InstanceState(row.state)],
        busy=busy or wanted,
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
    """Whether it is busy, and for how many seconds it has not been, as its runner says."""
    try:
        health = control.health(row.socket, timeout=_ASK_SECONDS)
    except RunnerDied:
        return True, None
    return bool(health["in_flight"] or health["queued"]), health.get("idle_seconds")


def assess(wish: Wish) -> Decision:
    """What would become of a load that began now; changes nothing."""
    quick = admission.decide(wish, look(ask=False))
    if isinstance(quick, Fits | Refuse):
        return quick
    return admission.decide(wish, look(ask=True))


def admit(*, run: Run, instance: Instance, wish: Wish, prediction: Prediction) -> Decision:
    """Returns once the load may start: its memory is reserved, the instance is `starting`. Says what it took.

    Raises InsufficientMemory when it can never fit, Unavailable when there is no room in time, Conflict when somebody
    stopped the instance meanwhile, Cancelled.
    """
    with _queued(wish) as ticket:
        decision = _try(ticket, run, instance, prediction)
        if isinstance(decision, Fits):
            return decision
        with run.step("make room", _words(decision)) as say:
            return _wait_for_room(ticket, run, instance, prediction, decision, say)


@contextmanager
def _queued(wish: Wish) -> Iterator[_Ticket]:
    ticket = _Ticket(wish)
    with _deciding:
        if len(_queue) >= _MOST_WAITING:
            raise Unavailable(
                f"{_MOST_WAITING} loads wait for memory already. Try again later.",
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
    """Decide, and take the memory where there is room. One at a time: two that fit alone never both start."""
    with _deciding:
        wish = ticket.now(may_evict=_may_evict(run))
        ahead = [other.wish for other in _queue[: _queue.index(ticket)]]
        decision = _decide_behind(wish, ahead) if ahead else assess(wish)
        if isinstance(decision, Fits):
            _take(instance, prediction)
        return decision


def _decide_behind(wish: Wish, ahead: list[Wish]) -> Decision:
    there = look(ask=False)
    decision = admission.decide(wish, there)
    if isinstance(decision, Refuse) or admission.passes(wish, there, ahead):
        return decision
    return Wait(f"{ahead[0].key} is to be loaded first.", getattr(decision, "candidates", ()))


def _may_evict(run: Run) -> bool:
    """Looked up each time: somebody who may can have joined the job."""
    if not run.job.may_evict:
        run.job.may_evict = Job.objects.filter(pk=run.job.pk, may_evict=True).exists()
    return run.job.may_evict


def _take(instance: Instance, prediction: Prediction) -> None:
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
    say: Any,
) -> Decision:
    took = decision
    deadline = monotonic() + settings.NOA_LOAD_TIMEOUT
    while True:
        if isinstance(decision, Refuse):
            raise refusal(ticket.wish, decision)
        if isinstance(decision, Evict):
            took = decision
            for victim in decision.victims:
                eviction.evict(run=run, resident=victim, wish=ticket.wish, candidates=decision.candidates)
        elif isinstance(decision, Wait):
            for victim in decision.drain:
                eviction.drain(run=run, resident=victim, wish=ticket.wish, candidates=decision.candidates)
            instances.wait_for_change()
        run.check_cancelled()
        # Raises where this process is no more, or is ceasing to be, the worker of the node.
        node.supervisor().check_open()
        if monotonic() > deadline:
            raise _too_late(ticket.wish, decision)
        decision = _try(ticket, run, instance, prediction)
        if isinstance(decision, Fits):
            return took
        say(_words(decision))


def _words(decision: Decision) -> str:
    if isinstance(decision, Evict):
        return f"unloading {', '.join(victim.key for victim in decision.victims)}"
    return getattr(decision, "why", "")


def _too_late(wish: Wish, decision: Decision) -> Unavailable:
    return Unavailable(
        f"There was no room for '{wish.key}' within {settings.NOA_LOAD_TIMEOUT:g} s (NOA_LOAD_TIMEOUT): "
        f"{_words(decision)} Try again later, or unload another model.",
        code="no_room_in_time",
        retry_after=30,
    )


def refusal(wish: Wish, decision: Refuse, *, largest_context: int | None = None) -> InsufficientMemory:
    """The error for a load that cannot fit: what it needs, what there is, and what to do."""
    need, most = wish.need, decision.most
    short_of_vram = need.vram > most.vram and need.ram <= most.ram
    needed, had = (need.vram, most.vram) if short_of_vram else (need.ram, most.ram)
    kind = "of GPU memory " if short_of_vram else ""
    smaller = f" A context of {largest_context} tokens would fit: 'n_ctx', or 'fit'." if largest_context else ""
    return InsufficientMemory(
        f"'{wish.key}' needs about {gib(needed)} {kind}and {gib(max(0, had))} are free even after all that may go is"
        f" unloaded: {decision.why}.{smaller or ' Load it with a smaller n_ctx, or unload, unpin or move other models.'}",
        details={
            "needed_bytes": needed,
            "free_bytes": max(0, had),
            "largest_context": largest_context,
            "kept": [one.as_dict() for one in decision.candidates if one.verdict == "stays"],
        },
    )


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GiB"


def candidates_of(decision: Decision) -> list[dict[str, Any]]:
    return [one.as_dict() for one in decision.candidates]
