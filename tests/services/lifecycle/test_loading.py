"""Load and unload, with real processes that pretend to hold a model."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from models_app.domain.catalog import memory
from models_app.domain.catalog.options import LoadOptions
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import Event, Instance, Job, LedgerEntry, RegisteredModel
from models_app.services.desired_state import state
from models_app.services.jobs import jobs
from models_app.services.lifecycle import loading, unloading
from models_app.services.routes import routing
from models_app.services.runners import instances, node
from tests.fakes.gguf_files import write_tiny_gguf
from tests.services.results import result_of
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "llama.cpp:a"
Work = Callable[..., Job]
StartNode = Callable[..., None]


def model(key: str = KEY) -> RegisteredModel:
    return RegisteredModel.objects.get(key=key)


def events() -> list[str]:
    return list(Event.objects.order_by("id").values_list("name", flat=True))


def test_it_loads_a_model(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [step["name"] for step in job.steps] == ["check", "start", "publish"]
    instance = Instance.objects.get()
    assert (instance.state, instance.memory_bytes) == (InstanceState.READY, 1000)
    assert psutil.pid_exists(instance.pid or 0)
    assert (model().status, model().wanted) == (ModelStatus.LOADED, True)
    assert result_of(job)["instance"] == str(instance.pk)
    assert events()[-2:] == ["model-loading", "model-loaded"]
    assert routing.snapshot().models[KEY].target is not None


def test_it_does_nothing_for_a_model_that_is_loaded(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    first = do(loading.load, key=KEY, options=LoadOptions())
    second = do(loading.load, key=KEY, options=LoadOptions())
    assert second.state == JobState.SUCCEEDED
    assert result_of(second)["instance"] == result_of(first)["instance"]
    assert Instance.objects.count() == 1


def test_it_loads_again_what_failed(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("dies-while-loading")
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.FAILED
    node.stop()
    start_node()
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED
    assert model().failure_reason == ""


@pytest.mark.parametrize(
    ("behaviour", "stage", "words"),
    [
        ("fails-to-load", "load", "The file has no tensors."),
        ("dies-while-loading", "load", "something terrible happened"),
    ],
)
def test_a_load_that_fails_says_why_and_leaves_nothing(
    two_models: Path, start_node: StartNode, do: Work, behaviour: str, stage: str, words: str
) -> None:
    start_node(behaviour)
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert (job.state, job.error_code) == (JobState.FAILED, "load_failed")
    assert words in job.error_message
    assert (model().status, model().failure_stage) == (ModelStatus.FAILED, stage)
    assert words in model().failure_reason
    assert Instance.objects.get().state == InstanceState.FAILED
    assert events()[-1] == "model-load-failed"
    assert list(node.supervisor().folder.iterdir()) == []


def test_a_load_that_takes_too_long_is_ended(two_models: Path, start_node: StartNode, do: Work, settings: Any) -> None:
    settings.NOA_LOAD_TIMEOUT = 0.3
    start_node("never-ready")
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert job.error_code == "load_timeout"
    assert list(node.supervisor().folder.iterdir()) == []


def test_it_refuses_what_does_not_fit_before_it_starts_anything(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node()
    monkeypatch.setattr(memory, "RUNNER_BASE_BYTES", 1 << 60)
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert job.error_code == "insufficient_memory"
    assert "can be freed" in job.error_message
    assert Instance.objects.get().pid is None


def test_twenty_at_once_are_one_load(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    found: list[str] = []

    def one(number: int) -> None:
        try:
            job = Job.objects.create(kind=JobKind.LOAD, subject=f"{number}", arguments={}, state=JobState.QUEUED)
            with jobs.run(job_id=str(job.pk), node="local") as run:
                assert run is not None
                found.append(str(loading.load(run=run, key=KEY, options=LoadOptions()).pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert Instance.objects.count() == 1


def test_it_unloads_a_model(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    do(loading.load, key=KEY, options=LoadOptions())
    pid = Instance.objects.get().pid or 0
    job = do(unloading.unload, kind=JobKind.UNLOAD, key=KEY)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert [step["name"] for step in job.steps] == ["drain", "stop"]
    assert not psutil.pid_exists(pid)
    assert (model().status, model().wanted) == (ModelStatus.AVAILABLE, False)
    assert events()[-1] == "model-unloaded"
    assert job.result == {
        "key": KEY,
        "affects_routes": [],
        "then": "loaded_again",
        "consequence": "The next request for it loads it again, if the request's API key may load models.",
    }


def test_an_unload_cuts_what_outlives_the_drain(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node("keeps-working")
    do(loading.load, key=KEY, options=LoadOptions())
    do(unloading.unload, kind=JobKind.UNLOAD, key=KEY)
    assert Event.objects.get(name="model-unloaded").data["cut_requests"] == 1


def test_it_says_that_there_is_nothing_to_unload(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    job = do(unloading.unload, kind=JobKind.UNLOAD, key=KEY)
    assert job.error_code == "model_not_loaded"


def test_a_runner_that_dies_makes_its_model_fail(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    do(loading.load, key=KEY, options=LoadOptions())
    os.kill(Instance.objects.get().pid or 0, signal.SIGKILL)
    until(lambda: model().status == ModelStatus.FAILED, "the model was marked as failed")
    assert "killed by SIGKILL" in model().failure_reason
    assert routing.snapshot().models[KEY].target is None
    assert events()[-1] == "instance-failed"


@pytest.mark.parametrize("step", [0.0, -86_400.0, 86_400.0])
@pytest.mark.parametrize("has_identity", [True, False])
def test_a_node_that_comes_back_ends_what_was_left_and_loads_it_again(
    two_models: Path,
    start_node: StartNode,
    do: Work,
    monkeypatch: pytest.MonkeyPatch,
    step: float,
    has_identity: bool,
) -> None:
    """Also when the wall clock was set meanwhile, and after a version that stored no identity of its runners."""
    start_node()
    do(loading.load, key=KEY, options=LoadOptions())
    if not has_identity:
        Instance.objects.update(pid_identity="")
    left = Instance.objects.get()
    booted = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: booted + step)
    Job.objects.create(kind=JobKind.SWITCH, subject="current", state=JobState.RUNNING, node="local")
    state.clean_up()
    until(lambda: not psutil.pid_exists(left.pid or 0), "the runner was killed")
    left.refresh_from_db()
    assert left.state in (InstanceState.STOPPED, InstanceState.FAILED)
    assert Job.objects.get(kind=JobKind.SWITCH).error_code == "interrupted"
    (queued,) = state.wanted_loads()
    assert queued.subject == KEY


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _other(path: Path) -> None:
    path.write_bytes(b"no GGUF at all")


@pytest.mark.parametrize("damage", [_gone, _cut, _other], ids=lambda damage: damage.__name__)
def test_a_load_whose_file_is_damaged_fails_as_in_any_other_step(
    two_models: Path, start_node: StartNode, do: Work, damage: Callable[[Path], None]
) -> None:
    start_node()
    damage(two_models / "a.gguf")
    job = do(loading.load, key=KEY, options=LoadOptions())
    assert job.state == JobState.FAILED
    found = model()
    assert (found.status, found.failure_stage, found.failure_reason) == (ModelStatus.FAILED, "check", job.error_message)
    assert events()[-1] == "model-load-failed"
    entry = LedgerEntry.objects.latest("id")
    assert (entry.kind, entry.outcome, entry.reason) == ("load", "failed", job.error_message)
    assert not Instance.objects.exists()
    if damage is _gone:
        assert "a.gguf" in job.error_message


def test_a_damaged_file_leaves_a_copy_that_serves_alone(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    do(loading.load, key=KEY, options=LoadOptions())
    _gone(two_models / "a.gguf")
    do(loading.load, key=KEY, options=LoadOptions())
    assert model().status == ModelStatus.LOADED


def test_a_file_that_changed_becomes_a_new_version(two_models: Path, start_node: StartNode, do: Work) -> None:
    start_node()
    before = model().version
    write_tiny_gguf(two_models / "a.gguf", name="a", seed=7)
    do(loading.load, key=KEY, options=LoadOptions())
    assert model().version != before
    assert Instance.objects.get().version == model().version


def test_only_one_instance_of_a_model_can_be_reserved(two_models: Path) -> None:
    chosen = model()
    assert chosen.version is not None
    take: dict[str, Any] = {"model": chosen, "version": chosen.version, "node": "local", "options": LoadOptions()}
    assert instances.reserve(**take) is not None
    assert instances.reserve(**take) is None
