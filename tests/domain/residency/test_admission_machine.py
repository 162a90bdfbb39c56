"""Any order of requests, loads, ends and pins on a simulated node: no request is cut or forgotten, no memory overdrawn.

The node acts on the decisions like `models_app.services.lifecycle.admission` and `eviction`, with a simulated clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models_app.domain.residency.admission import (
    PATIENCE,
    Evict,
    Fits,
    LoadRequest,
    Memory,
    Node,
    Refuse,
    Resident,
    Stage,
    Wait,
    decide,
    passes,
)

TOTAL = 100
SIZES = {"a": 30, "b": 45, "c": 60, "d": 80, "e": 100, "huge": 130}
MODELS = st.sampled_from(sorted(SIZES))
# Ticks within which a node without new requests must come to rest.
_REST = 200


@dataclass
class Process:
    """A runner in the node's process table."""

    key: str
    stage: Stage
    loaded_at: float
    used_at: float
    in_flight: int = 0


@dataclass
class Load:
    key: str
    since: float


@dataclass
class SimulatedNode:
    slots: int | None = None
    residency: float = 5.0
    now: float = 0.0
    pinned: set[str] = field(default_factory=set)
    priorities: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    queue: list[Load] = field(default_factory=list)
    # Requests that wait for a model, and how requests ended.
    waiting: dict[str, int] = field(default_factory=dict)
    answered: int = 0
    refused: int = 0
    cut: int = 0
    # Requests that arrived while it served.
    more: int = 0

    @property
    def free(self) -> int:
        return TOTAL - sum(SIZES[key] for key in self.processes)

    def look(self) -> Node:
        residents = tuple(
            Resident(
                key=one.key,
                instance_id=one.key,
                memory=Memory(SIZES[one.key]),
                stage=one.stage,
                busy=one.in_flight > 0 or (one.stage == Stage.READY and one.key in self.waiting),
                pinned=one.key in self.pinned,
                priority=self.priorities.get(one.key, 50),
                idle_seconds=0.0 if one.in_flight else self.now - one.used_at,
                resident_seconds=self.now - one.loaded_at,
                min_residency=self.residency,
            )
            for one in self.processes.values()
        )
        return Node(Memory(self.free), residents, slots=self.slots)

    def request(self, key: str) -> None:
        process = self.processes.get(key)
        if process is not None and process.stage == Stage.READY:
            process.in_flight += 1
            return
        self.waiting[key] = self.waiting.get(key, 0) + 1
        self.want(key)

    def want(self, key: str) -> None:
        """One load for any number of waiting requests."""
        begun = self.processes.get(key)
        coming = begun is not None and begun.stage == Stage.STARTING
        if not coming and all(load.key != key for load in self.queue):
            self.queue.append(Load(key, self.now))

    def advance(self) -> None:
        """One poll of every waiting load; each of them has its own thread."""
        for load in tuple(self.queue):
            if load.key in self.processes:
                continue  # the one before it has not ended yet
            self._decide(load)

    def _decide(self, load: Load) -> None:
        request = LoadRequest(
            load.key,
            Memory(SIZES[load.key]),
            priority=self.priorities.get(load.key, 50),
            waited=self.now - load.since,
        )
        ahead = [
            replace(request, key=other.key, need=Memory(SIZES[other.key]))
            for other in self.queue[: self.queue.index(load)]
        ]
        decision = decide(request, self.look())
        if ahead and not isinstance(decision, Refuse) and not passes(request, self.look(), ahead):
            return
        if isinstance(decision, Fits):
            self.queue.remove(load)
            self.processes[load.key] = Process(load.key, Stage.STARTING, self.now, self.now)
        elif isinstance(decision, Refuse):
            self.queue.remove(load)
            self.refused += self.waiting.pop(load.key, 0)
        elif isinstance(decision, Evict):
            for victim in decision.victims:
                self._evict(victim)
        elif isinstance(decision, Wait):
            for victim in decision.drain:
                self.processes[victim.key].stage = Stage.DRAINING

    def _evict(self, victim: Resident) -> None:
        process = self.processes[victim.key]
        assert process.stage == Stage.READY
        assert not process.in_flight, "a model was evicted with a request in it"
        assert victim.key not in self.pinned
        assert self.now - process.loaded_at >= self.residency
        process.stage = Stage.DRAINING

    def started(self, key: str) -> None:
        process = self.processes[key]
        process.stage, process.loaded_at, process.used_at = Stage.READY, self.now, self.now
        process.in_flight += self.waiting.pop(key, 0)

    def end_request(self, key: str) -> None:
        process = self.processes[key]
        process.in_flight -= 1
        process.used_at = self.now
        self.answered += 1

    def reap(self) -> None:
        """Drained runners without requests end."""
        for process in list(self.processes.values()):
            if process.stage == Stage.DRAINING and not process.in_flight:
                del self.processes[process.key]
                if process.key in self.waiting:
                    self.want(process.key)

    def serve_while_loads_wait(self) -> None:
        """Every ready model gets requests without a pause. Waiting loads still make progress."""
        for _ in range(_REST):
            if not self.queue:
                return
            self._tick()
            for process in self.processes.values():
                if process.stage == Stage.READY:
                    self.more += 1
                    process.in_flight += 1
            self.advance()
        raise AssertionError(f"a load never had its turn: {self}")

    def rest(self) -> None:
        """Without new requests everything in progress ends."""
        for _ in range(_REST):
            if not self.queue and not self.waiting and not self._in_flight():
                return
            self._tick()
            self.advance()
        raise AssertionError(f"it did not come to rest: {self}")

    def _tick(self) -> None:
        self.now += 1
        for process in list(self.processes.values()):
            if process.stage == Stage.STARTING:
                self.started(process.key)
            while process.in_flight:
                self.end_request(process.key)
        self.reap()

    def _in_flight(self) -> int:
        return sum(process.in_flight for process in self.processes.values())


class Schedules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.node = SimulatedNode(now=100.0)
        self.asked = 0
        # Two are loaded, and can be unloaded.
        for key in ("a", "c"):
            self.node.processes[key] = Process(key, Stage.READY, 0.0, 0.0)

    def _with(self, data: st.DataObject, *stages: Stage, busy: bool = False) -> Process | None:
        found = [one for one in self.node.processes.values() if one.stage in stages and (one.in_flight or not busy)]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(key=MODELS)
    def a_request_comes(self, key: str) -> None:
        self.asked += 1
        self.node.request(key)

    @rule(key=MODELS)
    def an_operator_wants_a_load(self, key: str) -> None:
        if key not in self.node.processes:
            self.node.want(key)

    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        if one := self._with(data, Stage.READY, Stage.DRAINING, busy=True):
            self.node.end_request(one.key)

    @rule(data=st.data())
    def a_load_ends(self, data: st.DataObject) -> None:
        if one := self._with(data, Stage.STARTING):
            self.node.started(one.key)

    @rule(data=st.data())
    def a_load_fails(self, data: st.DataObject) -> None:
        if one := self._with(data, Stage.STARTING):
            del self.node.processes[one.key]
            self.node.refused += self.node.waiting.pop(one.key, 0)

    @rule(data=st.data())
    def a_runner_dies(self, data: st.DataObject) -> None:
        if one := self._with(data, Stage.READY, Stage.DRAINING):
            del self.node.processes[one.key]
            self.node.cut += one.in_flight
            if one.key in self.node.waiting:
                self.node.want(one.key)

    @rule()
    def what_has_drained_ends(self) -> None:
        self.node.reap()

    @rule(seconds=st.sampled_from([0.5, 3.0, PATIENCE]))
    def time_passes(self, seconds: float) -> None:
        self.node.now += seconds

    @rule(key=MODELS, pinned=st.booleans())
    def a_pin_is_set(self, key: str, pinned: bool) -> None:
        (self.node.pinned.add if pinned else self.node.pinned.discard)(key)

    @rule(key=MODELS, priority=st.sampled_from([10, 50, 90]))
    def a_priority_is_set(self, key: str, priority: int) -> None:
        self.node.priorities[key] = priority

    @rule(slots=st.sampled_from([None, 1, 2, 3]))
    def the_limit_changes(self, slots: int | None) -> None:
        if slots is None or slots >= len(self.node.processes):
            self.node.slots = slots

    @invariant()
    def loads_look(self) -> None:
        """Every waiting load, each on its own thread, polls after a change."""
        self.node.advance()

    @invariant()
    def memory_is_never_given_twice(self) -> None:
        assert self.node.free >= 0
        assert self.node.slots is None or len(self.node.processes) <= self.node.slots

    @invariant()
    def nobody_who_waits_is_forgotten(self) -> None:
        coming = {load.key for load in self.node.queue} | set(self.node.processes)
        assert set(self.node.waiting) <= coming

    def teardown(self) -> None:
        self.node.serve_while_loads_wait()
        self.node.rest()
        ended = self.node.answered + self.node.refused + self.node.cut
        assert ended == self.asked + self.node.more


_SETTINGS = settings(
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


class TestSomeSchedules(Schedules.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(_SETTINGS, max_examples=25)


@pytest.mark.wide
class TestManySchedules(Schedules.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(_SETTINGS, max_examples=500)
