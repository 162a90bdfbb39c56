"""Models whose runner dies are recovered, and those that die repeatedly are given up."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.recovery import DEATHS_ALLOWED, FIRST_REST_SECONDS
from models_app.domain.states import InstanceState, JobState, ModelStatus
from models_app.models import Event, Instance, Job, LedgerEntry, Recovery, RegisteredModel
from models_app.services.coordination import locks
from models_app.services.lifecycle import loading, unloading
from models_app.services.routes import routing
from models_app.services.runners import failover, instances, node, recovery
from models_app.tasks import recovering, worker
from tests.conftest import fake_runner
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "llama.cpp:a"
Work = Callable[..., Job]
StartNode = Callable[..., None]


@pytest.fixture
def loaded(two_models: Path, start_node: StartNode, do: Work) -> Path:
    """`llama.cpp:a` is loaded and should be."""
    start_node()
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED
    return two_models


@pytest.fixture
def scheduler(loaded: Path) -> Iterator[None]:
    """The periodic tasks of a worker run."""
    worker.start_scheduler()
    yield
    worker.stop_scheduler()


def model() -> RegisteredModel:
    return RegisteredModel.objects.get(key=KEY)


def ready() -> Instance | None:
    return Instance.objects.filter(state=InstanceState.READY).first()


def kill(instance: Instance | None = None) -> Instance:
    killed = instance or Instance.objects.get(state=InstanceState.READY)
    os.kill(killed.pid or 0, signal.SIGKILL)
    return killed


def has_failed(instance: Instance) -> bool:
    return Instance.objects.get(pk=instance.pk).state == InstanceState.FAILED


def back_at() -> float | None:
    return routing.snapshot().models[KEY].back_at


def named(name: str) -> list[Event]:
    return list(Event.objects.filter(name=name))


def test_a_model_whose_runner_died_is_loaded_again(scheduler: None) -> None:
    killed = kill()
    until(lambda: ready() not in (None, killed), "another runner was ready")
    until(lambda: named("instance-recovered"), "the recovery was published")
    assert model().status == ModelStatus.LOADED
    until(lambda: back_at() is None, "the recovery was settled")
    entry = LedgerEntry.objects.get(kind="recovery")
    assert (entry.model_key, entry.cause, entry.outcome) == (KEY, "recovery", "done")
    assert "killed by SIGKILL" in entry.reason
    assert Job.objects.filter(actor="recovery", state=JobState.SUCCEEDED).count() == 1


def test_a_death_and_the_moment_of_return_become_known_together(loaded: Path) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    expected = back_at()
    assert expected is not None and 0 < expected - time() < 60
    (job,) = recovery.due()
    assert (job.subject, job.cause) == (KEY, "recovery")
    assert recovery.due() == []  # it is under way


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_attempt_that_begins_while_it_is_looked_after_does_not_end_the_recovery(loaded: Path, nth: int) -> None:
    """A starting copy appears after the n-th query about copies, and fails."""
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    seen: list[str] = []

    def begin(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if sql.startswith("SELECT") and 'FROM "models_app_instance"' in sql:
            seen.append(sql)
            if len(seen) == nth:
                instances.reserve(model=model(), version=None, node="local", options=LoadOptions())
        return found

    with connection.execute_wrapper(begin):
        recovery.due()
    starting = Instance.objects.filter(state=InstanceState.STARTING)
    for copy in starting:
        instances.move(instance=copy, to=InstanceState.FAILED)
    row = Recovery.objects.get()
    assert row.due_at is not None


def test_who_does_not_want_the_model_any_more_is_obeyed(loaded: Path) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    RegisteredModel.objects.update(wanted=False)
    assert recovery.due() == []
    assert back_at() is None


def test_a_model_that_nobody_wants_is_not_brought_back(loaded: Path) -> None:
    RegisteredModel.objects.update(wanted=False)
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    assert recovery.due() == []
    assert (model().status, back_at()) == (ModelStatus.FAILED, None)


def test_a_model_that_was_unloaded_stays_so(scheduler: None, do: Work) -> None:
    job = do(unloading.unload, key=KEY)
    assert job.state == JobState.SUCCEEDED
    assert recovery.due() == []
    assert not Recovery.objects.exists()


def has_died_before(times: int) -> None:
    Recovery.objects.update_or_create(
        model=model(),
        node="local",
        defaults={"deaths": [time() - 1] * times, "due_at": None},
    )


def test_a_model_that_dies_too_often_is_given_up(loaded: Path) -> None:
    has_died_before(DEATHS_ALLOWED - 1)
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    assert recovery.due() == []
    assert (model().status, back_at()) == (ModelStatus.FAILED, None)
    (event,) = named("recovery-given-up")
    assert event.data["deaths"] == DEATHS_ALLOWED
    row = Recovery.objects.get()
    assert row.due_at is not None and event.data["next_attempt_at"] == row.due_at.isoformat()
    assert 50 < row.due_at.timestamp() - time() <= FIRST_REST_SECONDS
    assert LedgerEntry.objects.get(kind="recovery").outcome == "failed"


def test_who_asks_for_a_model_that_was_given_up_gives_it_a_new_chance(loaded: Path, do: Work) -> None:
    has_died_before(DEATHS_ALLOWED - 1)
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED
    assert recovery.due() == []
    row = Recovery.objects.get()
    assert (row.given_up_at, row.deaths) == (None, [])
    again = kill()
    until(lambda: has_failed(again), "the second death was noticed")
    assert [job.subject for job in recovery.due()] == [KEY]


def given_up(**fields: Any) -> Recovery:
    """The model was given up once, and its next attempt is due."""
    values = {"deaths": [time() - 70], "given_up_at": timezone.now(), "due_at": timezone.now(), "times_given_up": 1}
    return Recovery.objects.create(model=model(), node="local", **(values | fields))


def run(job: Job) -> None:
    recovering._run(job)
    recovery.attempted(job=Job.objects.get(pk=job.pk))


def test_the_rest_of_a_model_that_dies_at_each_attempt_doubles(
    loaded: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    Recovery.objects.all().delete()
    row = given_up()
    node.supervisor()._command = fake_runner("dies-while-loading")
    for minutes in (2, 4, 8, 16, 30, 30):
        (job,) = recovery.due()
        assert recovery.due() == [], "one attempt at a time"
        run(job)
        row.refresh_from_db()
        assert row.due_at is not None and row.given_up_at is not None
        assert row.due_at.timestamp() - time() == pytest.approx(60 * minutes, abs=5)
        assert recovery.due() == [], "it rests"
        assert back_at() is None, "requests do not wait for it"
        Recovery.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    events = named("recovery-given-up")
    assert len(events) == 6
    assert all(event.data["next_attempt_at"] for event in events)


@pytest.mark.parametrize(("served", "rest"), [(10, 120), (301, None)])
def test_an_attempt_that_succeeds_counts_once_the_model_has_served_for_a_while(
    loaded: Path, served: float, rest: float | None
) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    Recovery.objects.all().delete()
    row = given_up()
    (job,) = recovery.due()
    run(job)
    assert recovery.due() == []
    row.refresh_from_db()
    assert (row.given_up_at, row.due_at, row.attempt, row.times_given_up) == (None, None, None, 1)
    assert ready() is not None
    Instance.objects.filter(state=InstanceState.READY).update(ready_at=timezone.now() - timedelta(seconds=served))
    again = kill()
    until(lambda: has_failed(again), "the second death was noticed")
    row.refresh_from_db()
    assert row.due_at is not None
    assert (row.given_up_at is not None) == (rest is not None)
    assert row.due_at.timestamp() - time() == pytest.approx(rest or 0.0, abs=5)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_an_attempt_that_ended_unnoticed_is_counted_before_the_next_one(loaded: Path, state: JobState) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    (job,) = recovery.due()
    # Between its end and its count, or by a cancel in another process.
    Job.objects.filter(pk=job.pk).update(state=state, error_code="load_failed", error_message="it broke")
    assert recovery.due() == []
    row = Recovery.objects.get()
    if state == JobState.CANCELLED:
        assert (row.due_at, model().wanted) == (None, False)
        return
    assert (len(row.deaths), row.attempt) == (2, None)
    recovery.attempted(job=Job.objects.get(pk=job.pk))
    assert len(Recovery.objects.get().deaths) == 2, "counted once"
    assert Job.objects.filter(actor="recovery").count() == 1


@pytest.mark.parametrize("set_by", [timedelta(seconds=-30), timedelta(days=-1), timedelta(days=1)])
def test_a_step_of_the_clock_delays_no_recovery(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, set_by: timedelta
) -> None:
    killed = kill()
    until(lambda: has_failed(killed), "the death was noticed")
    # The row was written before the step; by the clock of now it is due in 30 seconds, in a day, or long ago.
    row = Recovery.objects.get()
    moved = {"due_at": (row.due_at or killed.created_at) - set_by, "deaths": [time() - set_by.total_seconds()]}
    Recovery.objects.update(**moved)
    recovery._due_times.left(Recovery.objects.get())
    began = monotonic()
    monkeypatch.setattr(recovery, "monotonic", lambda: began + recovery._HOLD_SECONDS + 1.0)
    assert [job.subject for job in recovery.due()] == [KEY]


def lock_order(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[str]:
    """ "facts" for the lock of writers, and the table of each row that `work` writes or locks, until each commit."""
    order: list[str] = []
    take = locks.take_and_announce

    def record(number: int) -> None:
        order.append("facts")
        take(number)

    def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if found := re.match(r'(?:UPDATE|INSERT INTO|DELETE FROM) "models_app_(\w+)"', sql):
            order.append(found[1])
        if sql.startswith("BEGIN"):
            order.append("begin")
        return execute(sql, params, many, context)

    monkeypatch.setattr(locks, "take_and_announce", record)
    with connection.execute_wrapper(statement):
        work()
    monkeypatch.setattr(locks, "take_and_announce", take)
    return order


@pytest.mark.parametrize("operation", ["fail", "attempted", "settle", "cancel", "request", "release", "place"])
def test_each_operation_takes_the_lock_of_writers_before_those_of_rows(
    loaded: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    instance = Instance.objects.get()
    row = Recovery.objects.create(model=model(), node="local", due_at=timezone.now(), attempt=uuid4())
    job = Job.objects.create(
        pk=row.attempt, kind="load", subject=KEY, actor="recovery", state=JobState.FAILED, error_code="load_failed"
    )
    work: dict[str, Callable[[], object]] = {
        "fail": lambda: recovery.fail(instance=instance, what="x", reason="y", actor="test"),
        "attempted": lambda: recovery.attempted(job=job),
        "settle": lambda: recovery._settle(row, instance),
        "cancel": lambda: recovery._cancel(row),
        "request": lambda: recovery._request_load(row),
        "release": lambda: recovery.release_hold(instance=instance),
        "place": lambda: failover._schedule(model(), "local"),
    }
    if operation == "request":
        Recovery.objects.update(attempt=None)
    order = lock_order(monkeypatch, work[operation])
    held = [table for table in order if table in ("recovery", "instance", "registeredmodel", "facts")]
    assert held and held[0] == "facts", order


def start_next_attempt() -> bool:
    """Make the next attempt due now, once every attempt so far is counted as a death. Returns False."""
    row = Recovery.objects.first()
    if row is not None and len(row.deaths) > Job.objects.filter(actor="recovery").count():
        worker.scheduler.trigger("recovery")
    return False


def test_a_load_that_only_dies_is_tried_five_times_and_no_more(
    scheduler: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.domain.residency.recovery.LONGEST_PAUSE_SECONDS", 0.01)
    settings.NOA_RUNNER_COMMAND = fake_runner("dies-while-loading")
    node.supervisor()._command = settings.NOA_RUNNER_COMMAND
    kill()
    until(lambda: named("recovery-given-up") or start_next_attempt(), "it was given up")
    asked = Job.objects.filter(actor="recovery")
    assert asked.count() == DEATHS_ALLOWED - 1  # the first death was of a healthy model
    assert "something terrible happened" in model().failure_reason


def test_a_load_that_is_refused_is_asked_for_again_and_never_given_up(
    scheduler: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.domain.residency.recovery.LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(recovering, "INTERVAL_SECONDS", 0.05)
    settings.NOA_MEMORY_BUDGET = 1
    kill()
    until(
        lambda: Job.objects.filter(error_code="insufficient_memory").count() > DEATHS_ALLOWED,
        "it was refused more often than it may die",
    )
    settings.NOA_MEMORY_BUDGET = None
    until(ready, "there was memory again", 20)
    assert named("recovery-given-up") == []
