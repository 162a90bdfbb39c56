"""Hot swap, with real processes that pretend to hold a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import Event, Instance, Job, RegisteredModel, Route, RouteChange
from models_app.services import node, routing, switching
from tests.conftest import fake_runner

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "llama.cpp:a", "llama.cpp:b"
Work = Callable[..., Job]
StartNode = Callable[..., None]


def switch(do: Work, key: str, **options: object) -> Job:
    return do(switching.switch, kind=JobKind.SWITCH, key=key, **options)


def status_of(key: str) -> str:
    return RegisteredModel.objects.get(key=key).status


def test_it_moves_the_route_and_retires_the_old_model(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
    start_node()
    switch(do, A)
    old = Instance.objects.get()
    job = switch(do, B)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [step["name"] for step in job.steps] == [
        "check", "start", "publish", "move", "drain", "stop",
    ]  # fmt: skip
    assert job.result["previous"] == A
    assert job.result["current"] == B
    assert (status_of(A), status_of(B)) == (ModelStatus.AVAILABLE, ModelStatus.LOADED)
    assert not psutil.pid_exists(old.pid or 0)
    assert routing.snapshot().routes["current"] == B
    change = RouteChange.objects.latest("id")
    assert (change.previous_key, change.key) == (A, B)
    assert not RegisteredModel.objects.get(key=A).wanted


def test_the_new_model_is_ready_before_the_route_moves(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
    start_node()
    switch(do, A)
    switch(do, B)
    names = list(Event.objects.order_by("id").values_list("name", "subject"))
    assert names.index(("model-loaded", B)) < names.index(("model-switched", B))
    assert names.index(("model-switched", B)) < names.index(("model-unloaded", A))


def test_a_switch_that_fails_leaves_everything_as_it_was(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
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


def test_it_refuses_to_switch_to_where_the_route_leads(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
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


def test_a_model_that_another_route_needs_is_kept(
    two_models: Path, start_node: StartNode, do: Work
) -> None:
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
