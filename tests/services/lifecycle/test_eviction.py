"""One unload by policy: what the runner is asked, what is recorded, and what leaves the model loaded."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.admission import Candidate, LoadRequest, Memory, Resident
from models_app.domain.residency.ledger import LedgerCause, LedgerKind
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.engines import control
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel
from models_app.services.jobs import jobs
from models_app.services.jobs.jobs import Run
from models_app.services.lifecycle import eviction, loading
from tests.services.conftest import Work
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "llama.cpp:a", "llama.cpp:b"
Verb = Callable[..., Any]


@pytest.fixture
def loaded(two_models: Path, start_node: Callable[[str], None], do: Work) -> Instance:
    """`a`, in a runner whose load and idle time a test sets."""
    start_node("heavy")
    job = do(loading.load, key=A, options=LoadOptions())
    assert job.state == JobState.SUCCEEDED, job.error_message
    return now()


def now() -> Instance:
    return Instance.objects.select_related("model", "version").get(model__key=A)


def tell(instance: Instance, target: str) -> None:
    control._request(instance.socket, "POST", target, 5)


def runner_state(instance: Instance) -> str:
    return str(control.health(instance.socket)["state"])


def act(verb: Verb, instance: Instance) -> Any:
    """The result of an eviction of `a` for a load of `b` that a gateway's request caused."""
    resident = Resident(A, str(instance.pk), Memory(3 << 20, 7), idle_seconds=12.345)
    request = LoadRequest(B, Memory(5 << 20, 9))
    candidates = (Candidate(resident, "goes", "has not been used for 12 s"),)
    job, _ = jobs.create(
        kind=JobKind.LOAD,
        subject=B,
        arguments={},
        actor="gateway",
        cause=LedgerCause.REQUEST,
        request_id="req-1",
    )
    with jobs.run(job_id=str(job.pk), node="local") as run:
        assert isinstance(run, Run)
        return verb(run=run, resident=resident, request=request, candidates=candidates)


def evicted_once() -> None:
    (row,) = LedgerEntry.objects.filter(kind=LedgerKind.EVICTION)
    assert (row.model_key, row.cause, row.actor, row.request_id) == (A, LedgerCause.POLICY, "gateway", "req-1")
    assert row.job_id == Job.objects.get(subject=B).pk
    assert row.reason == f"to make room for {B}"
    assert row.candidates == [
        {"key": A, "verdict": "goes", "why": "has not been used for 12 s", "bytes": 3 << 20, "idle_seconds": 12.3}
    ]
    numbers = {"for": B, "needed_bytes": 5 << 20, "freed_bytes": 3 << 20, "idle_seconds": 12.3, "cut_requests": 0}
    assert numbers.items() <= row.data.items()
    event = Event.objects.get(name="model-evicted")
    assert (event.subject, event.message) == (A, f"{A} was unloaded to make room for {B}.")
    assert now().state == InstanceState.STOPPED
    assert not RegisteredModel.objects.get(key=A).wanted


def nothing_happened(instance: Instance, state: InstanceState = InstanceState.READY) -> None:
    assert not LedgerEntry.objects.filter(kind__in=[LedgerKind.EVICTION, LedgerKind.UNLOAD]).exists()
    assert now().state == state
    assert psutil.pid_exists(instance.pid or 0)


def test_an_idle_model_is_evicted_and_the_policy_is_the_cause(loaded: Instance) -> None:
    assert act(eviction.evict, loaded) is True
    evicted_once()
    assert not psutil.pid_exists(loaded.pid or 0)


def test_a_busy_model_is_not_evicted(loaded: Instance) -> None:
    tell(loaded, "/busy?in_flight=1")
    assert act(eviction.evict, loaded) is False
    nothing_happened(loaded)
    assert runner_state(loaded) == "ready"


@pytest.mark.parametrize("verb", [eviction.evict, eviction.drain])
def test_an_instance_that_is_no_longer_ready_is_left_to_what_ends_it(loaded: Instance, verb: Verb) -> None:
    Instance.objects.update(state=InstanceState.DRAINING)
    assert not act(verb, loaded)
    nothing_happened(loaded, InstanceState.DRAINING)
    assert runner_state(loaded) == "ready"


@pytest.mark.parametrize("verb", [eviction.evict, eviction.drain])
def test_an_instance_that_is_gone_is_no_error(loaded: Instance, verb: Verb) -> None:
    assert not act(verb, Instance())
    nothing_happened(loaded)


def test_an_instance_that_ends_at_the_last_moment_is_not_evicted_as_well(
    loaded: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain_if_idle = control.drain_if_idle

    def late(socket: str) -> bool:
        Instance.objects.update(state=InstanceState.DRAINING)
        return drain_if_idle(socket)

    monkeypatch.setattr(control, "drain_if_idle", late)
    assert act(eviction.evict, loaded) is False
    nothing_happened(loaded, InstanceState.DRAINING)


def test_a_runner_that_does_not_answer_counts_as_busy(loaded: Instance, tmp_path: Path) -> None:
    Instance.objects.update(socket=str(tmp_path / "none"))
    assert act(eviction.evict, loaded) is False
    nothing_happened(loaded)


def test_a_busy_model_that_is_drained_is_unloaded_after_its_last_request(
    loaded: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several waits: the requests take longer than one of them.
    monkeypatch.setattr(eviction, "_DRAIN_SECONDS", 0.05)
    tell(loaded, "/busy?in_flight=1")
    act(eviction.drain, loaded)
    (thread,) = (one for one in threading.enumerate() if one.name == f"drain-{A}")
    assert thread.daemon
    until(lambda: runner_state(loaded) == "draining", "the runner accepts no more requests")
    thread.join(0.3)
    assert thread.is_alive()
    nothing_happened(loaded, InstanceState.DRAINING)
    tell(loaded, "/busy?in_flight=0")
    thread.join(20)
    assert not thread.is_alive()
    evicted_once()


def test_one_wait_for_the_last_request_of_a_drained_model_is_a_minute(loaded: Instance) -> None:
    tell(loaded, "/busy?in_flight=1")
    waits: list[float] = []
    drain = control.drain

    def waiting(socket: str, *, wait: float) -> int:
        waits.append(wait)
        return drain(socket, wait=0.05)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(control, "drain", waiting)
        act(eviction.drain, loaded)
        until(lambda: len(waits) > 1, "it waits again")
        tell(loaded, "/busy?in_flight=0")
        until(lambda: now().state == InstanceState.STOPPED, "it is unloaded")
    assert set(waits) == {60.0}


def test_a_drained_model_whose_runner_does_not_answer_is_ended(
    loaded: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Instance.objects.update(socket=str(tmp_path / "none"))
    act(eviction.drain, loaded)
    until(lambda: now().state == InstanceState.STOPPED, "it is unloaded")
    evicted_once()


def idle(instance: Instance, seconds: float) -> None:
    tell(instance, f"/idle?seconds={seconds}")


@pytest.mark.parametrize(
    ("default", "own", "pinned", "seconds", "unloaded"),
    [
        (100.0, None, False, 101, True),
        (100.0, None, False, 90, False),
        # The model's own time-out comes first.
        (100.0, 200, False, 150, False),
        (100.0, 200, False, 201, True),
        (0.0, 1, False, 2, True),
        # 0 means never.
        (0.0, None, False, 10**6, False),
        (100.0, 0, False, 10**6, False),
        (100.0, None, True, 10**6, False),
    ],
)
def test_a_model_is_unloaded_after_its_idle_time_out(
    loaded: Instance, settings: Any, default: float, own: int | None, pinned: bool, seconds: float, unloaded: bool
) -> None:
    settings.NOA_IDLE_TTL = default
    RegisteredModel.objects.update(idle_ttl_seconds=own, pinned=pinned)
    assert eviction.idle_ttl(now()) == (default if own is None else float(own))
    idle(loaded, seconds)
    eviction.unload_idle()
    if not unloaded:
        nothing_happened(loaded)
        assert runner_state(loaded) == "ready"
        return
    assert now().state == InstanceState.STOPPED
    (row,) = LedgerEntry.objects.filter(kind=LedgerKind.UNLOAD)
    assert (row.model_key, row.cause, row.actor) == (A, LedgerCause.POLICY, "policy")
    assert row.reason == f"as it had not been used for {seconds} s (its idle time-out)"
    event = Event.objects.get(name="model-unloaded")
    assert event.message == f"{A} was unloaded, {row.reason}."
    assert not RegisteredModel.objects.get(key=A).wanted


def test_a_busy_model_and_one_that_does_not_answer_are_not_idle(
    loaded: Instance, settings: Any, tmp_path: Path
) -> None:
    settings.NOA_IDLE_TTL = 100.0
    idle(loaded, 200)
    tell(loaded, "/busy?in_flight=1")
    eviction.unload_idle()
    nothing_happened(loaded)
    tell(loaded, "/busy?in_flight=0")
    used = now().last_used_at
    Instance.objects.update(socket=str(tmp_path / "none"))
    eviction.unload_idle()
    nothing_happened(loaded)
    assert now().last_used_at == used


def test_other_nodes_unload_their_own(loaded: Instance, settings: Any) -> None:
    settings.NOA_IDLE_TTL = 100.0
    idle(loaded, 200)
    Instance.objects.update(node="other")
    eviction.unload_idle()
    nothing_happened(loaded)
    Instance.objects.update(node=settings.NOA_NODE, state=InstanceState.DRAINING)
    eviction.unload_idle()
    nothing_happened(loaded, InstanceState.DRAINING)


def test_a_model_that_ends_at_the_last_moment_is_not_unloaded_twice(
    loaded: Instance, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOA_IDLE_TTL = 100.0
    idle(loaded, 200)
    drain_if_idle = control.drain_if_idle

    def late(socket: str) -> bool:
        Instance.objects.update(state=InstanceState.DRAINING)
        return drain_if_idle(socket)

    monkeypatch.setattr(control, "drain_if_idle", late)
    eviction.unload_idle()
    nothing_happened(loaded, InstanceState.DRAINING)


def test_a_model_that_cannot_be_unloaded_does_not_keep_the_next_one(
    loaded: Instance, settings: Any, do: Work, tmp_path: Path
) -> None:
    assert do(loading.load, key=B, options=LoadOptions()).state == JobState.SUCCEEDED
    settings.NOA_IDLE_TTL = 100.0
    other = Instance.objects.get(model__key=B)
    for instance in (loaded, other):
        idle(instance, 200)
    Instance.objects.filter(model__key=A).update(socket=str(tmp_path / "none"))
    eviction.unload_idle()
    assert now().state == InstanceState.READY
    other.refresh_from_db()
    assert other.state == InstanceState.STOPPED


@pytest.mark.parametrize(
    ("before", "seconds", "stored"), [(None, 0, False), (100, 90, True), (100, 97, False), (3, 60, False)]
)
def test_the_last_use_is_stored_when_it_is_later_by_seconds(
    loaded: Instance, before: int | None, seconds: float, stored: bool
) -> None:
    """Each write wakes readers; `before` and `seconds` are how long ago the stored and the real last use are."""
    start = timezone.now()
    known = None if before is None else start - timedelta(seconds=before)
    Instance.objects.update(last_used_at=known, ready_at=start)
    idle(loaded, seconds)
    eviction.unload_idle()
    found = now().last_used_at
    if not stored:
        assert found == known
    else:
        assert found is not None
        assert start - timedelta(seconds=seconds + 1) < found < timezone.now() - timedelta(seconds=seconds - 1)


def test_the_first_use_after_the_load_is_stored(loaded: Instance) -> None:
    for ready_ago, stored in ((100, True), (0, False)):
        ready_at = timezone.now() - timedelta(seconds=ready_ago)
        Instance.objects.update(last_used_at=None, ready_at=ready_at)
        idle(loaded, 1)
        eviction.unload_idle()
        assert (now().last_used_at is not None) == stored
    Instance.objects.update(last_used_at=None, ready_at=None)
    eviction.unload_idle()
    assert now().last_used_at is not None


def test_the_memory_of_a_runner_that_grew_is_stored(loaded: Instance) -> None:
    Instance.objects.update(memory_bytes=1)
    eviction.unload_idle()
    assert (now().memory_bytes or 0) > 1 << 20


def test_a_stopped_process_counts_as_busy_until_it_answers(loaded: Instance, settings: Any) -> None:
    """A runner that the kernel has stopped, as a debugger does, is not taken for idle."""
    assert loaded.pid is not None
    settings.NOA_IDLE_TTL = 100.0
    idle(loaded, 200)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(control, "HEALTH_TIMEOUT", 0.1)
        patched.setattr(control.health, "__kwdefaults__", {"timeout": 0.1})
        os.kill(loaded.pid, signal.SIGSTOP)
        try:
            eviction.unload_idle()
            assert act(eviction.evict, loaded) is False
        finally:
            os.kill(loaded.pid, signal.SIGCONT)
    nothing_happened(loaded)
