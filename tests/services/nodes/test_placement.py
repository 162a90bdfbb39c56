"""Several nodes over one database: the placement of models, and the failover from a lost node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import NoaError
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import Event, Instance, Job, ModelFile, Node, Recovery, RegisteredModel
from models_app.services.jobs import jobs
from models_app.services.lifecycle import commands
from models_app.services.nodes import cluster, nodes, placement
from models_app.services.routes import routing
from models_app.services.runners import failover, instances
from tests.services.conftest import Watch
from tests.services.served import CAPABILITIES, registered_model

pytestmark = pytest.mark.django_db
GIB = 2**30


def node(name: str, **fields: Any) -> Node:
    values = {
        "pid": 1,
        "heartbeat_at": Now(),
        "memory_free_bytes": 8 * GIB,
        "generation": 1,
        "address": f"https://{name}:8790",
    }
    return Node.objects.create(name=name, **(values | fields))


Silent = Callable[[str], None]


@pytest.fixture
def silent(watch: Watch) -> Silent:
    """Stops the heartbeat of a node, while those of the others go on, until it counts as lost."""

    def silent(name: str) -> None:
        beating = Node.objects.exclude(name=name).values_list("name", flat=True)
        watch(nodes.LOST_AFTER_SECONDS + 1, *beating)

    return silent


@pytest.fixture(autouse=True)
def missing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is missing has been so for long enough."""
    monkeypatch.setattr(failover, "_SETTLED_SECONDS", 0.0)


def has_file(name: str, model: RegisteredModel, sha256: str = "a" * 64) -> None:
    ModelFile.objects.create(node=name, model=model, sha256=sha256, path=f"/{name}.gguf", size_bytes=1, file_mtime_ns=1)


def serves(name: str, model: RegisteredModel, state: InstanceState = InstanceState.READY) -> Instance:
    instance = instances.reserve(model=model, version=model.version, node=name, options=LoadOptions(), beside=True)
    assert instance is not None
    assert instances.move(instance=instance, to=InstanceState.STARTING)
    if state == InstanceState.READY:
        assert instances.move(instance=instance, to=state, memory_bytes=GIB)
    return instance


@pytest.fixture
def model() -> RegisteredModel:
    return registered_model()


def chosen(model: RegisteredModel, **more: Any) -> str:
    return placement.node_for_load(model=model, options=LoadOptions(), **more)


def test_without_nodes_and_with_one_everything_is_done_here(model: RegisteredModel, silent: Silent) -> None:
    assert chosen(model) == "local"
    node("local")
    assert chosen(model) == "local"
    silent("local")
    # Its worker does it when it returns.
    assert chosen(model) == "local"


def test_a_load_goes_to_where_the_present_file_is(model: RegisteredModel) -> None:
    for name in ("a", "b", "c"):
        node(name)
    has_file("a", model, "b" * 64)
    has_file("c", model)
    assert chosen(model) == "c"
    job, _ = commands.request_load(key=model.key, options=LoadOptions(), actor="test")
    assert job.queue == "node.c"


def test_a_file_that_only_a_web_machine_knows_hinders_nobody(model: RegisteredModel) -> None:
    node("a")
    has_file("web1", model)
    assert chosen(model) == "a"


def test_loads_spread_over_the_nodes(model: RegisteredModel) -> None:
    node("a")
    node("b")
    serves("a", registered_model("other"))
    assert chosen(model) == "b"


def test_what_is_being_started_counts_as_used(model: RegisteredModel) -> None:
    node("a", memory_free_bytes=4 * GIB)
    node("b", memory_free_bytes=3 * GIB)
    starting = serves("a", registered_model("other"), InstanceState.STARTING)
    Instance.objects.filter(pk=starting.pk).update(memory_estimate_bytes=2 * GIB)
    places = {one.name: one for one in placement._places(model, list(Node.objects.all()), {"a"})}
    assert (places["a"].free, places["a"].is_up) == (2 * GIB, True)
    assert (places["b"].free, places["b"].is_up) == (3 * GIB, False)


def test_a_budget_bounds_what_a_node_has(model: RegisteredModel) -> None:
    node("a", memory_budget_bytes=3 * GIB)
    serves("a", registered_model("other"))
    (place,) = placement._places(model, list(Node.objects.all()), {"a"})
    assert (place.free, place.evictable) == (2 * GIB, GIB)
    RegisteredModel.objects.filter(model_id="other").update(pinned=True)
    (place,) = placement._places(model, list(Node.objects.all()), {"a"})
    assert place.evictable == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [("z", "node_not_found"), ("down", "node_down"), ("draining", "node_draining"), ("empty", "file_not_on_node")],
)
def test_a_node_that_cannot_have_it_is_refused_at_once(
    model: RegisteredModel, name: str, code: str, silent: Silent
) -> None:
    for known in ("a", "down", "draining", "empty"):
        node(known)
    for known in ("a", "down", "draining"):
        has_file(known, model)
    silent("down")
    Node.objects.filter(name="draining").update(draining_at=Now())
    with pytest.raises(NoaError) as refused:
        commands.request_load(key=model.key, options=LoadOptions(), node=name, actor="test")
    assert refused.value.code == code
    assert not Job.objects.exists()


def test_jobs_about_a_loaded_model_go_to_its_node(model: RegisteredModel) -> None:
    node("a")
    node("b")
    serves("b", model)
    for kind, subject, arguments in (
        (JobKind.UNLOAD, model.key, {}),
        (JobKind.PROBE, model.key, {}),
        (JobKind.PROFILE, model.key, {}),
        (JobKind.SWITCH, "current", {"key": model.key}),
    ):
        job, _ = jobs.create(kind=kind, subject=subject, arguments=arguments, actor="test")
        assert job.queue == "node.b", kind


def test_loads_that_name_their_nodes_are_jobs_beside_each_other(model: RegisteredModel) -> None:
    node("a")
    node("b")
    ids = {
        commands.request_load(key=model.key, options=LoadOptions(), node=name, actor="test")[0].pk
        for name in ("", "a", "b", "a", "")
    }
    assert len(ids) == 3


def test_one_instance_per_node_and_one_of_those_who_leave_the_choice(
    model: RegisteredModel,
) -> None:
    def reserve(name: str, beside: bool) -> Instance | None:
        return instances.reserve(model=model, version=model.version, node=name, options=LoadOptions(), beside=beside)

    assert reserve("a", False)
    assert reserve("b", False) is None
    assert reserve("a", True) is None
    assert reserve("b", True)
    assert [one.node for one in instances.copies(model=model)] == ["a", "b"]


def test_a_model_is_loaded_as_long_as_one_instance_is_ready(model: RegisteredModel) -> None:
    def status() -> str:
        return RegisteredModel.objects.get().status

    first = serves("a", model)
    second = serves("b", model, InstanceState.STARTING)
    assert status() == ModelStatus.LOADED
    assert instances.move(instance=first, to=InstanceState.FAILED, failure_reason="gone")
    assert status() == ModelStatus.LOADING
    assert instances.move(instance=second, to=InstanceState.READY)
    assert status() == ModelStatus.LOADED
    assert instances.move(instance=second, to=InstanceState.DRAINING)
    assert status() == ModelStatus.UNLOADING


def test_the_gateway_sees_all_instances_those_of_its_machine_first(model: RegisteredModel) -> None:
    node("a")
    node("local")
    serves("a", model)
    serves("local", model)
    entry = routing.snapshot().models[model.key]
    assert entry.target is not None
    assert (entry.target.node, entry.target.address, entry.target.copies) == ("local", "", 2)
    assert [(one.node, one.address) for one in entry.others] == [("a", "https://a:8790")]
    assert entry.target.capabilities == frozenset(CAPABILITIES)


def test_what_a_lost_node_served_is_placed_on_another(model: RegisteredModel, silent: Silent) -> None:
    node("a")
    node("b")
    lost = serves("a", model)
    RegisteredModel.objects.update(wanted=True)
    assert failover.place_missing() == []
    silent("a")
    (row,) = nodes.lost()
    failover.node_lost(name=row.name)
    lost.refresh_from_db()
    assert (lost.state, lost.failure_stage) == (InstanceState.FAILED, "node")
    assert Event.objects.filter(name="instance-failed", subject=model.key).count() == 1
    assert failover.place_missing() == [(model.key, "b")]
    due = Recovery.objects.get(node="b")
    assert due.due_at is not None
    assert routing.snapshot().models[model.key].back_at
    # Only once.
    assert failover.place_missing() == []


def test_a_copy_that_is_missing_is_placed_where_there_is_none(model: RegisteredModel) -> None:
    for name in ("a", "b", "c"):
        node(name)
    serves("a", model)
    RegisteredModel.objects.update(wanted=True, replicas=2)
    assert failover.place_missing() == [(model.key, "b")]
    serves("b", model)
    Recovery.objects.all().delete()
    assert failover.place_missing() == []


def test_what_was_given_up_on_a_node_is_not_placed_there(model: RegisteredModel) -> None:
    node("a")
    node("b")
    RegisteredModel.objects.update(wanted=True)
    later = timezone.now() + timedelta(seconds=60)
    Recovery.objects.create(model=model, node="a", due_at=later, given_up_at=Now())
    assert failover.place_missing() == [(model.key, "b")]
    Recovery.objects.filter(node="b").update(due_at=later, given_up_at=Now())
    assert failover.place_missing() == []


def test_what_nobody_wants_is_placed_nowhere(model: RegisteredModel, silent: Silent) -> None:
    node("a")
    node("b")
    serves("a", model)
    silent("a")
    (row,) = nodes.lost()
    failover.node_lost(name=row.name)
    assert failover.place_missing() == []


def test_jobs_of_a_lost_node_end_and_say_why(model: RegisteredModel) -> None:
    node("a")
    job, _ = jobs.create(kind=JobKind.PROBE, subject=model.key, arguments={}, actor="test")
    Job.objects.update(state=JobState.RUNNING, node="a")
    Node.objects.update(lost_at=Now())
    failover.node_lost(name="a")
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "interrupted")
    assert "'a' was lost" in job.error_message


def test_a_node_is_forgotten_only_when_it_is_gone(model: RegisteredModel, silent: Silent) -> None:
    node("a")
    has_file("a", model)
    with pytest.raises(NoaError) as refused:
        cluster.forget(name="a")
    assert refused.value.code == "node_in_use"
    silent("a")
    cluster.forget(name="a")
    assert not Node.objects.exists()
    assert not ModelFile.objects.exists()
