"""Models whose runner dies are recovered, and those that die repeatedly are given up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import pytest

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.residency.recovery import DEATHS_ALLOWED
from models_app.domain.states import InstanceState, JobState, ModelStatus
from models_app.models import Event, Instance, Job, LedgerEntry, Recovery, RegisteredModel
from models_app.services.lifecycle import loading, unloading
from models_app.services.routes import routing
from models_app.services.runners import node, recovery
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
