"""Cancelled jobs leave nothing behind; with real processes that pretend to hold a model."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import Conflict, NotFound
from models_app.domain.states import InstanceState, JobKind, JobState, ModelStatus
from models_app.models import Event, Instance, Job, RegisteredModel, Route
from models_app.services.jobs import jobs, waiting
from models_app.services.lifecycle import loading, switching, unloading
from models_app.services.routes import routing
from models_app.services.runners import node
from tests.conftest import fake_runner
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

A, B = "llama.cpp:a", "llama.cpp:b"
Work = Callable[..., Job]
StartNode = Callable[..., None]
Begin = Callable[..., Job]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Runs a service as a job on a separate thread and returns the job at once."""
    threads = []

    def start(verb: Callable[..., object], kind: JobKind, subject: str, **arguments: object) -> Job:
        job, _ = jobs.create(kind=kind, subject=subject, arguments={}, actor="test")

        def work() -> None:
            try:
                with jobs.run(job_id=str(job.pk), node="local") as run:
                    assert run is not None
                    verb(run=run, **arguments)
            finally:
                connection.close()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return job

    yield start
    for thread in threads:
        thread.join()


def begin_load(begin: Begin, key: str = A) -> Job:
    job = begin(loading.load, JobKind.LOAD, key, key=key, options=LoadOptions())
    until(lambda: Instance.objects.filter(model__key=key, pid__gt=0).exists(), "a runner started")
    return job


def ended(job: Job) -> Job:
    found = waiting.wait(job_id=job.pk, seconds=20)
    assert found.finished_at is not None
    return found


def status_of(key: str) -> str:
    return RegisteredModel.objects.get(key=key).status


def assert_nothing_is_left(instance: Instance) -> None:
    instance.refresh_from_db()
    assert instance.state == InstanceState.STOPPED
    assert not psutil.pid_exists(instance.pid or 0)
    model = instance.model
    model.refresh_from_db()
    assert (model.status, model.wanted, model.failure_reason) == (ModelStatus.AVAILABLE, False, "")
    assert routing.snapshot().models[model.key].target is None
    assert list(node.supervisor().folder.iterdir()) == []


def test_a_queued_job_ends_at_once() -> None:
    job, _ = jobs.create(kind=JobKind.LOAD, subject=A, arguments={}, actor="test")
    cancelled = jobs.cancel(job_id=job.pk, actor="key:op")
    assert (cancelled.state, cancelled.error_code) == (JobState.CANCELLED, "cancelled")
    assert cancelled.error_message == "The job was cancelled by key:op."
    event = Event.objects.get(name="job-cancelled")
    assert (event.subject, event.actor, event.job_id) == (A, "key:op", job.pk)
    with jobs.run(job_id=str(job.pk), node="local") as run:
        assert run is None


def test_a_cancelled_load_leaves_nothing_behind(two_models: Path, start_node: StartNode, begin: Begin) -> None:
    start_node("never-ready")
    job = begin_load(begin)
    assert jobs.cancel(job_id=job.pk, actor="key:op").cancel_requested_at is not None
    assert ended(job).state == JobState.CANCELLED
    assert_nothing_is_left(Instance.objects.get())
    names = list(Event.objects.order_by("id").values_list("name", flat=True))
    assert names[-1] == "job-cancelled"
    assert "model-load-failed" not in names


def test_a_cancel_of_another_process_is_seen_too(
    two_models: Path, start_node: StartNode, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.02)
    start_node("never-ready")
    job = begin_load(begin)
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now(), cancelled_by="key:elsewhere")
    assert ended(job).error_message == "The job was cancelled by key:elsewhere."
    assert_nothing_is_left(Instance.objects.get())


def test_a_model_whose_load_was_cancelled_can_be_loaded(
    two_models: Path, start_node: StartNode, begin: Begin, do: Work
) -> None:
    start_node("never-ready")
    job = begin_load(begin)
    jobs.cancel(job_id=job.pk, actor="op")
    ended(job)
    node.supervisor()._command = fake_runner("good")
    assert do(loading.load, key=A, options=LoadOptions()).state == JobState.SUCCEEDED


def test_who_waits_for_a_load_that_is_cancelled_is_told(two_models: Path, start_node: StartNode, begin: Begin) -> None:
    start_node("never-ready")
    job = begin_load(begin)
    other = begin(loading.load, JobKind.LOAD, "another wish", key=A, options=LoadOptions())
    until(
        lambda: any(step["name"] == "wait" for step in jobs.get(job_id=other.pk).steps),
        "the other job waits",
    )
    jobs.cancel(job_id=job.pk, actor="op")
    failed = ended(other)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "load_cancelled")


def test_a_job_that_waits_for_another_load_can_be_cancelled_itself(
    two_models: Path, start_node: StartNode, begin: Begin
) -> None:
    start_node("never-ready")
    first = begin_load(begin)
    other = begin(loading.load, JobKind.LOAD, "another wish", key=A, options=LoadOptions())
    until(
        lambda: any(step["name"] == "wait" for step in jobs.get(job_id=other.pk).steps),
        "the other job waits",
    )
    jobs.cancel(job_id=other.pk, actor="op")
    assert ended(other).state == JobState.CANCELLED
    assert Instance.objects.get().state == InstanceState.STARTING
    jobs.cancel(job_id=first.pk, actor="op")


def test_a_cancelled_switch_leaves_the_route_where_it_was(
    two_models: Path, start_node: StartNode, begin: Begin, do: Work
) -> None:
    start_node("good")
    do(switching.switch, kind=JobKind.SWITCH, key=A)
    kept = Instance.objects.get()
    node.supervisor()._command = fake_runner("never-ready")
    job = begin(switching.switch, JobKind.SWITCH, "current", key=B)
    until(lambda: Instance.objects.filter(model__key=B, pid__gt=0).exists(), "a runner started")
    jobs.cancel(job_id=job.pk, actor="op")
    assert ended(job).state == JobState.CANCELLED
    assert routing.snapshot().routes["current"] == A
    assert (status_of(A), status_of(B)) == (ModelStatus.LOADED, ModelStatus.AVAILABLE)
    assert psutil.pid_exists(kept.pid or 0)
    assert not Event.objects.filter(name="switch-failed").exists()


def cancel_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel in the database right before the job's step `name`, as another process would."""
    begin_step = jobs.Run.step

    def step(run: jobs.Run, step_name: str, detail: str = "") -> object:
        if step_name == name:
            Job.objects.filter(pk=run.job.pk).update(cancel_requested_at=timezone.now())
        return begin_step(run, step_name, detail)

    monkeypatch.setattr(jobs.Run, "step", step)


def test_a_switch_that_is_cancelled_before_the_move_unloads_what_it_had_started(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    do(switching.switch, kind=JobKind.SWITCH, key=A)
    cancel_before("move", monkeypatch)
    job = do(switching.switch, kind=JobKind.SWITCH, key=B)
    assert job.state == JobState.CANCELLED
    assert routing.snapshot().routes["current"] == A
    assert status_of(B) == ModelStatus.AVAILABLE
    assert not psutil.pid_exists(Instance.objects.get(model__key=B).pid or 0)


def test_a_switch_that_is_cancelled_keeps_what_was_loaded_before(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    do(loading.load, key=B, options=LoadOptions())
    cancel_before("move", monkeypatch)
    assert do(switching.switch, kind=JobKind.SWITCH, key=B).state == JobState.CANCELLED
    assert (status_of(B), RegisteredModel.objects.get(key=B).wanted) == (ModelStatus.LOADED, True)


def test_a_load_that_is_cancelled_when_the_runner_is_ready_leaves_nothing_behind(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    cancel_before("publish", monkeypatch)
    assert do(loading.load, key=A, options=LoadOptions()).state == JobState.CANCELLED
    assert_nothing_is_left(Instance.objects.get())


def test_an_instance_that_drains_is_ended_though_its_job_is_cancelled(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job with unloads as parts can be cancelled, but not between a model's drain and its end."""
    start_node("good")
    do(loading.load, key=A, options=LoadOptions())
    instance = Instance.objects.select_related("model").get()
    cancel_before("drain", monkeypatch)

    def unload_and_go_on(run: jobs.Run) -> None:
        unloading.retire(run=run, instance=instance)
        run.progress(0.5)
        with run.step("more"):
            raise AssertionError("The job went on.")

    assert do(unload_and_go_on, kind=JobKind.RESTORE).state == JobState.CANCELLED
    instance.refresh_from_db()
    assert (instance.state, status_of(A)) == (InstanceState.STOPPED, ModelStatus.AVAILABLE)


def test_a_switch_whose_route_was_deleted_meanwhile_leaves_nothing_behind(
    two_models: Path, start_node: StartNode, do: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_node("good")
    Route.objects.create(name="fast")
    monkeypatch.setattr(loading, "set_desired", lambda loaded: Route.objects.filter(name="fast").delete())
    job = do(switching.switch, kind=JobKind.SWITCH, key=A, route_name="fast")
    assert (job.state, job.error_code) == (JobState.FAILED, "route_not_found")
    assert_nothing_is_left(Instance.objects.get())


def test_a_model_that_drains_is_unloaded_to_the_end(
    two_models: Path, start_node: StartNode, begin: Begin, do: Work
) -> None:
    start_node("keeps-working")
    do(loading.load, key=A, options=LoadOptions())
    job = begin(unloading.unload, JobKind.UNLOAD, A, key=A)
    until(lambda: status_of(A) == ModelStatus.UNLOADING, "the model drains")
    with pytest.raises(Conflict, match="accepts no requests any more") as caught:
        jobs.cancel(job_id=job.pk, actor="op")
    assert caught.value.code == "not_cancellable"
    assert ended(job).state == JobState.SUCCEEDED


def test_what_has_ended_is_not_cancelled() -> None:
    job, _ = jobs.create(kind=JobKind.LOAD, subject=A, arguments={}, actor="test")
    jobs.end(job_id=str(job.pk), state=JobState.FAILED)
    with pytest.raises(Conflict) as caught:
        jobs.cancel(job_id=job.pk, actor="op")
    assert caught.value.code == "job_ended"


def test_a_job_that_nobody_made_is_not_cancelled() -> None:
    with pytest.raises(NotFound):
        jobs.cancel(job_id=uuid.uuid4(), actor="op")


def test_a_cancel_twice_is_one() -> None:
    job, _ = jobs.create(kind=JobKind.DISCOVER, subject="x", arguments={}, actor="test")
    with jobs.run(job_id=str(job.pk), node="local") as run:
        assert run is not None
        jobs.cancel(job_id=job.pk, actor="first")
        assert jobs.cancel(job_id=job.pk, actor="second").cancelled_by == "first"
        run.progress(0.5)
    assert jobs.get(job_id=job.pk).state == JobState.CANCELLED


def test_twenty_who_cancel_at_once_make_one_end() -> None:
    job, _ = jobs.create(kind=JobKind.LOAD, subject=A, arguments={}, actor="test")
    answers: list[str] = []

    def cancel(number: int) -> None:
        try:
            answers.append(jobs.cancel(job_id=job.pk, actor=f"key:{number}").state)
        except Conflict as error:
            answers.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=cancel, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(answers)) in (["cancelled"], ["cancelled", "job_ended"])
    assert Event.objects.filter(name="job-cancelled").count() == 1


def test_a_long_loop_asks_by_itself() -> None:
    job, _ = jobs.create(kind=JobKind.PROFILE, subject=A, arguments={}, actor="test")
    with jobs.run(job_id=str(job.pk), node="local") as run:
        assert run is not None
        run.check_cancelled()
        jobs.cancel(job_id=job.pk, actor="op")
        run.check_cancelled()
        raise AssertionError("The loop went on.")
    job.refresh_from_db()
    assert job.state == JobState.CANCELLED
