"""Hot swap, with real processes that pretend to hold a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_app.domain.catalog import memory
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import LoadFailed
from models_app.domain.residency.ledger import LedgerKind
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.engines.process import RunnerProcess
from models_app.engines.spec import RunnerSpec
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel, Route, RouteChange
from models_app.services.lifecycle import loading, switching
from models_app.services.routes import routing
from models_app.services.runners import node
from tests.conftest import fake_runner
from tests.services.results import result_of

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "llama.cpp:a", "llama.cpp:b"
Work = Callable[..., Job]
StartNode = Callable[..., None]


def switch(do: Work, key: str, **options: object) -> Job:
    return do(switching.switch, kind=JobKind.SWITCH, key=key, **options)


def status_of(key: str) -> str:
    return RegisteredModel.objects.get(key=key).status


def test_it_moves_the_route_and_retires_the_old_model(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    old = Instance.objects.get()
    job = switch(do, B)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [step["name"] for step in job.steps] == [
        "check",
        "start",
        "publish",
        "verify",
        "move",
        "drain",
        "stop",
    ]
    assert result_of(job)["previous"] == A
    assert result_of(job)["current"] == B
    assert (status_of(A), status_of(B)) == (ModelStatus.AVAILABLE, ModelStatus.LOADED)
    assert not psutil.pid_exists(old.pid or 0)
    assert routing.snapshot().routes["current"] == B
    change = RouteChange.objects.latest("id")
    assert (change.previous_key, change.key) == (A, B)
    assert not RegisteredModel.objects.get(key=A).wanted


def test_the_new_model_is_ready_before_the_route_moves(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    switch(do, B)
    names = list(Event.objects.order_by("id").values_list("name", "subject"))
    assert names.index(("model-loaded", B)) < names.index(("model-switched", B))
    assert names.index(("model-switched", B)) < names.index(("model-unloaded", A))


def test_a_switch_that_fails_leaves_everything_as_it_was(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    kept = Instance.objects.get()
    node.supervisor()._command = fake_runner("dies-while-loading")
    job = switch(do, B)
    assert (job.state, job.error_code) == (JobState.FAILED, "load_failed")
    assert "something terrible happened" in job.error_message
    assert f"'current' still leads to {A}." in job.error_message
    assert (status_of(A), status_of(B)) == (ModelStatus.LOADED, ModelStatus.FAILED)
    assert psutil.pid_exists(kept.pid or 0)
    assert routing.snapshot().routes["current"] == A
    assert Event.objects.latest("id").name == "switch-failed"


def test_it_refuses_to_switch_to_where_the_route_leads(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    job = switch(do, A)
    assert job.error_code == "already_current"
    assert status_of(A) == ModelStatus.LOADED


def test_it_loads_again_what_the_route_leads_to_and_is_not_loaded(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
    start_node()
    switch(do, A)
    node.end_runner(instance_id=str(Instance.objects.get().pk), grace=1.0)
    Instance.objects.update(state=InstanceState.STOPPED)
    assert switch(do, A).state == JobState.SUCCEEDED


def test_the_previous_model_can_be_kept(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    switch(do, B, keep_previous=True)
    assert (status_of(A), status_of(B)) == (ModelStatus.LOADED, ModelStatus.LOADED)


def test_a_model_that_another_route_needs_is_kept(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    Route.objects.create(name="stable", target=RegisteredModel.objects.get(key=A))
    switch(do, B)
    assert status_of(A) == ModelStatus.LOADED


def test_an_unknown_route_is_named(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    job = switch(do, A, route_name="nowhere")
    assert job.error_code == "route_not_found"
    assert status_of(A) == ModelStatus.AVAILABLE


def with_room_for_one(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RUNNER_BASE_BYTES", 90 << 20)
    settings.NOA_MEMORY_BUDGET = 150 << 20


def test_it_says_that_both_were_loaded_where_memory_allows(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    switch(do, A)
    assert result_of(switch(do, B))["mode"] == "overlap"
    row = LedgerEntry.objects.filter(kind=LedgerKind.SWITCH).first()
    assert row is not None
    assert (row.model_key, row.data["mode"], row.data["previous"]) == (B, "overlap", A)


def test_where_there_is_room_for_one_the_new_model_takes_the_place_of_the_old(
    two_models: Path,
    start_node: StartNode,
    do: Work,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_room_for_one(settings, monkeypatch)
    start_node("heavy")
    switch(do, A)
    job = switch(do, B)
    assert (job.state, result_of(job)["mode"]) == (JobState.SUCCEEDED, "replace"), job.error_message
    assert routing.snapshot().routes["current"] == B
    assert (status_of(A), status_of(B)) == (ModelStatus.AVAILABLE, ModelStatus.LOADED)
    assert [RegisteredModel.objects.get(key=key).wanted for key in (A, B)] == [False, True]
    names = list(Event.objects.order_by("id").values_list("name", "subject"))
    assert names.index(("model-unloaded", A)) < names.index(("model-loaded", B))


def test_a_replacement_that_fails_brings_the_old_model_back(
    two_models: Path,
    start_node: StartNode,
    do: Work,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_room_for_one(settings, monkeypatch)
    start_node("heavy")
    assert do(loading.load, key=A, options=LoadOptions(n_ctx=256)).state == JobState.SUCCEEDED
    switch(do, A)
    launched = node.supervisor().launch

    def fail_b(spec: RunnerSpec) -> RunnerProcess:
        if spec.model == B:
            raise LoadFailed("There is no such thing.", stage="start")
        return launched(spec)

    monkeypatch.setattr(node.supervisor(), "launch", fail_b)
    job = switch(do, B)
    assert (job.state, job.error_code) == (JobState.FAILED, "load_failed")
    assert "still leads to llama.cpp:a" in job.error_message
    assert routing.snapshot().routes["current"] == A
    back = Instance.objects.get(state=InstanceState.READY)
    assert (back.model.key, back.options) == (A, {"n_ctx": 256})
    assert RegisteredModel.objects.get(key=A).wanted
    assert not switching.replaced(model=back.model)


def test_what_another_route_needs_or_shall_be_kept_is_not_replaced(
    two_models: Path,
    start_node: StartNode,
    do: Work,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_room_for_one(settings, monkeypatch)
    start_node("heavy")
    switch(do, A)
    assert switch(do, B, keep_previous=True).error_code == "insufficient_memory"
    Route.objects.create(name="other", target=RegisteredModel.objects.get(key=A))
    assert switch(do, B).error_code == "insufficient_memory"
    assert routing.snapshot().routes["current"] == A
    assert status_of(A) == ModelStatus.LOADED


def test_a_model_that_does_not_answer_gets_no_traffic(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node()
    switch(do, A)
    monkeypatch.setattr(switching, "_CANARY_SECONDS", 0.2)
    node.supervisor()._command = fake_runner("computes-nothing")
    job = switch(do, B)
    assert (job.state, job.error_code) == (JobState.FAILED, "canary_failed")
    assert routing.snapshot().routes["current"] == A
    assert Instance.objects.get(state=InstanceState.READY).model.key == A
