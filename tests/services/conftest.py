"""A node with a fake runner, and model folders with real tiny GGUF files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from models_app.domain.states import JobKind, JobState
from models_app.models import Job, Node
from models_app.services.jobs import jobs
from models_app.services.nodes.observing import LOOK_SECONDS, observer
from models_app.services.registry import discovery
from models_app.services.runners import node
from tests.conftest import fake_runner
from tests.fakes.gguf_files import write_tiny_gguf
from tests.fakes.upstream import FakeUpstream

Watch = Callable[..., None]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Lets this process observe all heartbeats for so many seconds, in which only the nodes `beating` send one."""
    now = [0.0]
    monkeypatch.setattr(observer, "_clock", lambda: now[0])
    observer.stop()

    def watch(seconds: float, *beating: str) -> None:
        observer.look()
        end = now[0] + seconds
        while now[0] < end:
            now[0] = min(end, now[0] + LOOK_SECONDS)
            Node.objects.filter(name__in=beating).update(heartbeat_at=F("heartbeat_at") + timedelta(seconds=1))
            observer.look()

    yield watch
    observer.stop()


@pytest.fixture
def start_node(
    transactional_db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Makes this process a node whose runners have the named behaviour."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings.NOA_DRAIN_TIMEOUT = 0.2

    def start(behaviour: str = "good") -> None:
        settings.NOA_RUNNER_COMMAND = fake_runner(behaviour)
        node.start()

    yield start
    node.stop()


@pytest.fixture
def runner() -> Iterator[FakeUpstream]:
    """A runner in this process with scripted answers."""
    # A short name: the path of a unix socket holds 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="noa-") as folder,
        FakeUpstream(f"{folder}/runner.sock") as fake,
    ):
        yield fake


Work = Callable[..., Job]


@pytest.fixture
def do() -> Work:
    """Runs a service as a job and returns the job at its end."""

    def run(verb: Callable[..., Any], *, kind: JobKind = JobKind.LOAD, **arguments: Any) -> Job:
        job, _ = jobs.create(kind=kind, subject=str(arguments.get("key", "")), arguments={}, actor="test")
        with jobs.run(job_id=str(job.pk), node="local") as current:
            assert current is not None
            verb(run=current, **arguments)
        job.refresh_from_db()
        return job

    return run


@pytest.fixture
def two_models(models_dir: Path, start_node: Callable[[str], None], do: Work) -> Path:
    """`llama.cpp:a` and `llama.cpp:b` are registered."""
    write_tiny_gguf(models_dir / "a.gguf", name="a")
    write_tiny_gguf(models_dir / "b.gguf", name="b", seed=1)
    job = do(discovery.discover, kind=JobKind.DISCOVER)
    assert job.state == JobState.SUCCEEDED, job.error_message
    return models_dir
