"""Loads wait for memory, and get it from unused models, with real processes that pretend to hold a model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_app.domain.catalog import memory
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency import admission as rules
from models_app.domain.residency.ledger import LedgerCause, LedgerKind
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.engines import control
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel
from models_app.services.jobs import jobs
from models_app.services.lifecycle import eviction, loading, unloading
from models_app.services.registry import discovery
from models_app.services.runners import instances
from tests.fakes.gguf_files import write_tiny_gguf
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

A, B, C = "llama.cpp:a", "llama.cpp:b", "llama.cpp:c"
MIB = 1 << 20
Work = Callable[..., Job]
StartNode = Callable[..., None]


@pytest.fixture
def room_for_two(
    models_dir: Path,
    start_node: StartNode,
    do: Work,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three models of about 100 MiB each, and a budget of 250."""
    for number, name in enumerate("abc"):
        write_tiny_gguf(models_dir / f"{name}.gguf", name=name, seed=number)
    assert do(discovery.discover, kind=JobKind.DISCOVER).state == JobState.SUCCEEDED
    monkeypatch.setattr(memory, "RUNNER_BASE_BYTES", 90 * MIB)
    # A runner that becomes idle sends no notification: the load that waits for it polls.
    monkeypatch.setattr(instances, "_POLL_SECONDS", 0.02)
    settings.NOA_MEMORY_BUDGET = 250 * MIB
    settings.NOA_MIN_RESIDENCY = 0.0
    start_node("heavy")


def instance(key: str) -> Instance:
    return Instance.objects.filter(model__key=key).latest("created_at")


def make_busy(key: str, requests: int = 1) -> None:
    control._request(instance(key).socket, "POST", f"/busy?in_flight={requests}", 5)


def ready() -> set[str]:
    found = Instance.objects.filter(state=InstanceState.READY)
    return set(found.values_list("model__key", flat=True))


def test_the_least_recently_used_makes_room(room_for_two: None, do: Work) -> None:
    for key in (A, B):
        assert do(loading.load, key=key, options=LoadOptions()).state == JobState.SUCCEEDED
    pid = instance(A).pid
    job = do(loading.load, key=C, options=LoadOptions())
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert ready() == {B, C}
    assert not psutil.pid_exists(pid or 0)
    assert not RegisteredModel.objects.get(key=A).wanted
    event = Event.objects.get(name="model-evicted")
    assert (event.subject, event.data["for"]) == (A, C)
    row = LedgerEntry.objects.get(kind=LedgerKind.EVICTION)
    assert (row.model_key, row.cause, row.reason) == (
        A,
        LedgerCause.POLICY,
        f"to make room for {C}",
    )
    assert {one["key"]: one["verdict"] for one in row.candidates} == {A: "goes", B: "stays"}


def test_a_pinned_model_stays(room_for_two: None, do: Work) -> None:
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
    RegisteredModel.objects.filter(key=A).update(pinned=True)
    assert do(loading.load, key=C, options=LoadOptions()).state == JobState.SUCCEEDED
    assert ready() == {A, C}


def test_a_load_that_can_never_fit_is_refused_with_figures_and_starts_nothing(room_for_two: None, do: Work) -> None:
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
    RegisteredModel.objects.update(pinned=True)
    before = set(psutil.Process().children())
    job = do(loading.load, key=C, options=LoadOptions())
    assert job.error_code == "insufficient_memory"
    assert f"{A} is pinned" in job.error_message
    assert set(psutil.Process().children()) == before
    row = LedgerEntry.objects.get(kind=LedgerKind.REFUSAL)
    assert {one["key"] for one in row.candidates} == {A, B}
    assert Event.objects.filter(name="load-refused", subject=C).exists()
    assert ready() == {A, B}


def test_a_busy_model_is_waited_for(
    room_for_two: None, do: Work, in_background: Callable[..., threading.Thread]
) -> None:
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
        make_busy(key)
    thread = in_background(loading.load, key=C, options=LoadOptions())
    until(lambda: Job.objects.filter(subject=C).exclude(steps=[]).first(), "the job runs")
    until(
        lambda: "is answering requests" in str(Job.objects.get(subject=C).steps),
        "it reports what it waits for",
    )
    assert ready() == {A, B}
    make_busy(B, 0)
    thread.join(20)
    assert ready() == {A, C}


def test_after_a_while_a_busy_model_gives_way_without_a_cut(
    room_for_two: None,
    do: Work,
    in_background: Callable[..., threading.Thread],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "PATIENCE", 0.0)
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
        make_busy(key)
    thread = in_background(loading.load, key=C, options=LoadOptions())
    until(lambda: instance(A).state == InstanceState.DRAINING, "the oldest accepts no more requests")
    assert psutil.pid_exists(instance(A).pid or 0)
    make_busy(A, 0)
    thread.join(20)
    assert ready() == {B, C}
    row = LedgerEntry.objects.get(kind=LedgerKind.EVICTION)
    assert (row.model_key, row.data["cut_requests"]) == (A, 0)


def test_a_load_that_waits_can_be_cancelled(
    room_for_two: None, do: Work, in_background: Callable[..., threading.Thread]
) -> None:
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
        make_busy(key)
    thread = in_background(loading.load, key=C, options=LoadOptions())
    until(lambda: Job.objects.filter(subject=C).exclude(steps=[]).exists(), "the job runs")
    jobs.cancel(job_id=Job.objects.get(subject=C, state=JobState.RUNNING).pk, actor="user:x")
    thread.join(20)
    assert Job.objects.get(subject=C).state == JobState.CANCELLED
    assert instance(C).state == InstanceState.STOPPED
    assert ready() == {A, B}


def test_two_that_fit_only_alone_never_both_start(
    room_for_two: None, do: Work, settings: Any, in_background: Callable[..., threading.Thread]
) -> None:
    settings.NOA_MEMORY_BUDGET = 150 * MIB
    threads = [in_background(loading.load, key=key, options=LoadOptions()) for key in (A, B, C)]
    for thread in threads:
        thread.join(30)
    states = Job.objects.filter(kind=JobKind.LOAD).values_list("state", flat=True)
    assert set(states) == {JobState.SUCCEEDED}
    assert len(ready()) == 1
    assert LedgerEntry.objects.filter(kind=LedgerKind.EVICTION).count() == 2


def test_what_is_not_used_for_its_time_is_unloaded(room_for_two: None, do: Work) -> None:
    for key in (A, B):
        do(loading.load, key=key, options=LoadOptions())
    RegisteredModel.objects.update(idle_ttl_seconds=3600)
    control._request(instance(A).socket, "POST", "/idle?seconds=3601", 5)

    def only_b() -> bool:
        eviction.unload_idle()
        return ready() == {B}

    until(only_b, "the idle one is unloaded")
    row = LedgerEntry.objects.get(kind=LedgerKind.UNLOAD)
    assert (row.cause, row.model_key) == (LedgerCause.POLICY, A)
    assert "its idle time-out" in row.reason
    assert not RegisteredModel.objects.get(key=A).wanted


def test_the_second_load_is_predicted_by_the_first(room_for_two: None, do: Work) -> None:
    do(loading.load, key=A, options=LoadOptions())
    do(unloading.unload, kind=JobKind.UNLOAD, key=A)
    do(loading.load, key=A, options=LoadOptions())
    first, second = LedgerEntry.objects.filter(kind=LedgerKind.LOAD).order_by("id")
    assert second.predicted_bytes == first.measured_bytes == 100 * MIB
    assert second.predicted_seconds == first.measured_seconds
