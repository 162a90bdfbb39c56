"""The same models on several nodes: by digest, at whatever path; and a node that is drained."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.engines import gguf
from models_app.models import Event, Instance, Job, ModelFile, Node, RegisteredModel
from models_app.services.catalog import lookup
from models_app.services.jobs import jobs
from models_app.services.lifecycle import draining
from models_app.services.nodes import placement
from models_app.services.registry import discovery, local_discovery
from models_app.services.runners import instances
from tests.fakes.gguf_files import write_tiny_gguf
from tests.services.conftest import Work
from tests.services.results import result_of

KEY = "llama.cpp:a"


@pytest.fixture
def on_node(tmp_path: Path, settings: Any, do: Work, db: None) -> Callable[..., Job]:
    """Discovers as the node `name`, whose model folder has `a.gguf` made from `seed`, or no file."""

    def discover(name: str, seed: int | None) -> Job:
        folder = tmp_path / f"models-of-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "a.gguf").unlink(missing_ok=True)
        if seed is not None:
            write_tiny_gguf(folder / "a.gguf", name="a", seed=seed)
        settings.NOA_NODE, settings.NOA_MODEL_ROOTS = name, [folder]
        Node.objects.get_or_create(name=name, defaults={"pid": 1, "heartbeat_at": Now()})
        job = discovery.of_node(name=name, actor="test")
        with jobs.run(job_id=str(job.pk), node=name) as run:
            assert run is not None
            discovery.discover(run=run, provider="llama.cpp")
        job.refresh_from_db()
        assert job.state == JobState.SUCCEEDED, job.error_message
        return job

    return discover


def with_file() -> set[str] | None:
    return placement.nodes_with_file(RegisteredModel.objects.select_related("version").get(key=KEY))


def test_equal_files_are_one_version_on_both_nodes(on_node: Callable[..., Job]) -> None:
    on_node("one", 0)
    version = RegisteredModel.objects.get(key=KEY).version_id
    on_node("two", 0)
    assert RegisteredModel.objects.get(key=KEY).version_id == version
    assert with_file() == {"one", "two"}
    assert ModelFile.objects.values("path").distinct().count() == 2


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [(gguf, "inspect", 1), (lookup, "local_provider", 2)],
    ids=["while the file is read", "before its row is written"],
)
@pytest.mark.parametrize("other", ["one", "two"], ids=["on the same node", "on another node"])
def test_of_two_discoveries_at_once_both_report_the_file(
    on_node: Callable[..., Job],
    do: Work,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    other: str,
    module: Any,
    function: str,
    call: int,
) -> None:
    original, calls = getattr(module, function), itertools.count(1)

    def overtaken(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            mine = settings.NOA_NODE, settings.NOA_MODEL_ROOTS
            folder = tmp_path / f"models-of-{other}"
            folder.mkdir(exist_ok=True)
            write_tiny_gguf(folder / "a.gguf", name="a", seed=0)
            settings.NOA_NODE, settings.NOA_MODEL_ROOTS = other, [folder]
            Node.objects.get_or_create(name=other)
            do(local_discovery.discover, kind=JobKind.DISCOVER)
            settings.NOA_NODE, settings.NOA_MODEL_ROOTS = mine
        return original(*arguments, **named)

    monkeypatch.setattr(module, function, overtaken)
    report = result_of(on_node("one", 0))["providers"]["llama.cpp"]
    assert (report["new"], report["unchanged"], report["refused"]) == ([], 1, [])
    assert with_file() == {"one", other}
    assert Event.objects.filter(name="model-registered").count() == 1
    assert not Event.objects.filter(name="model-updated").exists()


def test_another_file_of_the_same_name_is_refused_and_changes_nothing(
    on_node: Callable[..., Job],
) -> None:
    on_node("one", 0)
    version = RegisteredModel.objects.get(key=KEY).version_id
    report = result_of(on_node("two", 1))["providers"]["llama.cpp"]
    assert "another file" in str(report)
    assert RegisteredModel.objects.get(key=KEY).version_id == version
    assert with_file() == {"one"}


def test_a_file_that_is_replaced_leaves_the_other_node_behind_until_it_has_it_too(
    on_node: Callable[..., Job],
) -> None:
    on_node("one", 0)
    on_node("two", 0)
    on_node("one", 1)
    assert with_file() == {"one"}
    on_node("two", 1)
    assert with_file() == {"one", "two"}


def test_a_model_is_gone_only_when_no_node_has_it(on_node: Callable[..., Job]) -> None:
    on_node("one", 0)
    on_node("two", 0)
    on_node("one", None)
    assert RegisteredModel.objects.get(key=KEY).gone_at is None
    assert with_file() == {"two"}
    on_node("two", None)
    assert RegisteredModel.objects.get(key=KEY).gone_at is not None


def test_what_no_other_node_can_have_stays_when_a_node_is_drained(
    on_node: Callable[..., Job],
) -> None:
    on_node("one", 0)
    model = RegisteredModel.objects.get(key=KEY)
    instance = instances.reserve(model=model, version=model.version, node="one", options=LoadOptions())
    assert instance is not None
    instances.move(instance=instance, to=InstanceState.STARTING)
    instances.move(instance=instance, to=InstanceState.READY)
    job, created = draining.request_drain(name="one", actor="test")
    assert created and job.queue == "node.one" and job.kind == JobKind.DRAIN
    with jobs.run(job_id=str(job.pk), node="one") as run:
        assert run is not None
        draining.drain(run=run, name="one")
    job.refresh_from_db()
    assert (job.state, job.error_code) == (JobState.FAILED, "node_not_empty")
    assert [one["key"] for one in result_of(job)["kept"]] == [KEY]
    assert Instance.objects.get(pk=instance.pk).state == InstanceState.READY
    assert Node.objects.get(name="one").draining_at is not None
    assert draining.resume(name="one").draining_at is None
