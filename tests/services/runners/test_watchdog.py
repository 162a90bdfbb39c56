"""The watchdog ends stuck instances, runners and jobs, each with one event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import Event, Instance, Job, Node, RegisteredModel
from models_app.services.jobs import jobs
from models_app.services.lifecycle import loading
from models_app.services.runners import node, recovery, watchdog
from models_app.services.runners.watchdog import Watch
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "llama.cpp:a"
Work = Callable[..., Job]
StartNode = Callable[..., None]
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture
def loaded(two_models: Path, start_node: StartNode, do: Work) -> Instance:
    start_node()
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED
    return Instance.objects.get()


def model() -> RegisteredModel:
    return RegisteredModel.objects.get(key=KEY)


def state_of(instance: Instance) -> str:
    return Instance.objects.get(pk=instance.pk).state


def stuck(state: InstanceState) -> Instance:
    """An instance without a job."""
    return Instance.objects.create(model=model(), node="local", state=state)


def overdue(watch: Watch) -> None:
    """Age all states by an hour."""
    watch.since = {mark: at - 3600 for mark, at in watch.since.items()}


def names() -> list[str]:
    return list(Event.objects.order_by("pk").values_list("name", flat=True))


def test_what_is_well_is_left_alone(loaded: Instance) -> None:
    watch = Watch()
    before = names()
    for _ in range(3):
        watch.check()
        overdue(watch)
    assert state_of(loaded) == InstanceState.READY
    assert names() == before


def test_a_load_that_nobody_ends_is_ended(two_models: Path, start_node: StartNode) -> None:
    start_node()
    instance, watch = stuck(InstanceState.STARTING), Watch()
    watch.check()
    watch.check()
    assert state_of(instance) == InstanceState.STARTING
    overdue(watch)
    watch.check()
    assert state_of(instance) == InstanceState.FAILED
    assert model().status == ModelStatus.FAILED
    watch.check()
    assert names().count("instance-failed") == 1


def test_a_drain_that_nobody_ends_is_ended(loaded: Instance) -> None:
    Instance.objects.update(state=InstanceState.DRAINING)
    watch = Watch()
    watch.check()
    overdue(watch)
    watch.check()
    assert state_of(loaded) == InstanceState.STOPPED
    assert not psutil.pid_exists(loaded.pid or 0)
    assert names()[-1] == "model-unloaded"


def test_an_instance_whose_process_is_gone_is_brought_back(loaded: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.supervisor(), "instance_ids", set)
    watch = Watch()
    watch.check()
    assert state_of(loaded) == InstanceState.READY  # once does not count
    watch.check()
    assert state_of(loaded) == InstanceState.FAILED
    assert [job.subject for job in recovery.due()] == [KEY]


def test_a_runner_that_belongs_to_no_instance_is_ended(loaded: Instance) -> None:
    Instance.objects.update(state=InstanceState.STOPPED)
    watch = Watch()
    watch.check()
    assert psutil.pid_exists(loaded.pid or 0)
    watch.check()
    assert not psutil.pid_exists(loaded.pid or 0)
    assert names()[-1] == "runner-ended"
    watch.check()
    assert names().count("runner-ended") == 1


def running(name: str, **fields: Any) -> Job:
    return Job.objects.create(
        **{"kind": JobKind.PROBE, "subject": name, "state": JobState.RUNNING, "node": "local"}
        | {"started_at": LONG_AGO}
        | fields
    )


def test_a_job_that_nobody_runs_is_ended(two_models: Path, start_node: StartNode) -> None:
    start_node()
    lost, checks = running("lost"), Watch()
    queued, _ = jobs.create(kind=JobKind.PROBE, subject="mine", arguments={}, actor="test")
    with jobs.run(job_id=str(queued.pk), node="local"):
        checks.check()
        fresh = running("fresh")  # by its time of start an hour old: the clock was set forward
        checks.check()
        assert jobs.get(job_id=queued.pk).state == JobState.RUNNING
    assert jobs.get(job_id=lost.pk).error_code == "interrupted"
    assert jobs.get(job_id=fresh.pk).state == JobState.RUNNING
    assert names().count("job-interrupted") == 1


@pytest.mark.parametrize(
    ("node_row", "seconds", "ends"),
    [
        ({"heartbeat_at": Now()}, 0, False),
        ({"heartbeat_at": Now()}, 20, False),  # it can still return
        ({"heartbeat_at": Now()}, 31, True),
        ({"heartbeat_at": Now() - timedelta(days=1)}, 20, False),  # by the database's clock, which can be set
        ({"heartbeat_at": Now() + timedelta(days=1)}, 31, True),
        ({"heartbeat_at": None, "pid": None}, 0, True),
        (None, 0, True),
    ],
)
def test_jobs_of_a_worker_that_has_gone_are_ended(
    watch: Callable[..., None], node_row: dict[str, Any] | None, seconds: float, ends: bool
) -> None:
    if node_row is not None:
        Node.objects.create(**{"name": "other", "pid": 4} | node_row)
    job = running("theirs", node="other")
    watch(seconds)
    watchdog.end_lost_jobs()
    watchdog.end_lost_jobs()
    assert (jobs.get(job_id=job.pk).state == JobState.FAILED) == ends
    assert names().count("job-interrupted") == int(ends)


def test_a_load_that_a_stop_interrupts_is_left_to_the_next_worker(two_models: Path, start_node: StartNode) -> None:
    start_node("never-ready")
    job, _ = jobs.create(kind=JobKind.LOAD, subject=KEY, arguments={"options": {}}, actor="test")

    def load() -> None:
        try:
            with jobs.run(job_id=str(job.pk), node="local") as run:
                assert run is not None
                loading.load(run=run, key=KEY, options=LoadOptions())
        finally:
            connection.close()

    thread = threading.Thread(target=load)
    thread.start()
    until(lambda: Instance.objects.filter(pid__isnull=False).exists(), "the load had begun")
    node.stop()
    thread.join()
    left = jobs.get(job_id=job.pk)
    assert (left.state, left.node, left.steps, left.started_at) == (JobState.QUEUED, "", [], None)
    assert Instance.objects.get().state == InstanceState.STOPPED
    assert model().status == ModelStatus.AVAILABLE
    assert names()[-1] == "job-requeued"
