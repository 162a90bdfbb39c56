"""A job needs no broker: its worker finds it, once, with or without its message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from models_app.domain.states import JobKind, JobState
from models_app.models import Job
from models_app.services.jobs import jobs, queues
from models_app.services.registry import discovery as registry_discovery
from models_app.tasks import discovery, queueing
from models_app.tasks.pickup import Pickup
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def ran() -> Iterator[list[str]]:
    """The ids of the jobs whose discovery was run."""
    begun: list[str] = []
    with mock.patch.object(registry_discovery, "discover", lambda run, provider: begun.append(str(run.job.pk))):
        yield begun


def make(subject: str = "", *, age: float = 10.0, queue: str = "") -> Job:
    job, _ = jobs.create(kind=JobKind.DISCOVER, subject=subject, arguments={}, actor="test")
    made_at = timezone.now() - timedelta(seconds=age)
    Job.objects.filter(pk=job.pk).update(created_at=made_at, queue=queue or job.queue)
    job.refresh_from_db()
    return job


def ended(job: Job) -> Callable[[], bool]:
    return lambda: Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED


def test_a_job_whose_message_was_lost_is_run(ran: list[str]) -> None:
    job = make()
    Pickup().poll()
    until(ended(job), "the job had run")
    assert ran == [str(job.pk)]


def test_a_message_gets_time_to_arrive(settings: Any) -> None:
    settings.NOA_EMBEDDED, settings.NOA_WEB_PROCESSES = False, 4
    job = make(age=0.0)
    assert jobs.unclaimed(older_than=Pickup()._grace()) == []
    settings.NOA_EMBEDDED = True
    assert jobs.unclaimed(older_than=Pickup()._grace()) == [job]


def test_the_same_message_twice_and_late_runs_a_job_once(ran: list[str]) -> None:
    job = make()
    barrier = threading.Barrier(5)

    def deliver() -> None:
        barrier.wait()
        Pickup()._run(job)

    threads = [threading.Thread(target=deliver) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    discovery.discover_models(str(job.pk))
    assert ran == [str(job.pk)]


def test_jobs_of_another_node_are_left_to_it(settings: Any) -> None:
    other, common, own = make("a", queue=queues.of_node("other")), make("b", queue="common"), make()
    assert jobs.unclaimed(older_than=timedelta(0)) == [common, own]
    settings.NOA_NODE = "other"
    assert other in jobs.unclaimed(older_than=timedelta(0))


@pytest.mark.parametrize(
    ("kind", "subject", "queue"),
    [
        (JobKind.DISCOVER, "", "node.local"),
        (JobKind.DISCOVER, "llama.cpp", "node.local"),
        (JobKind.DISCOVER, "openai", "common"),
        (JobKind.PROBE, "openai:gpt-4o", "common"),
        (JobKind.PROFILE, "llama.cpp:a", "node.local"),
        (JobKind.LOAD, "llama.cpp:a", "node.local"),
        (JobKind.RESTORE, "state", "node.local"),
    ],
)
def test_work_that_needs_no_file_of_a_node_goes_to_any(kind: JobKind, subject: str, queue: str) -> None:
    assert queues.choose(kind=kind, subject=subject, arguments={}) == queue


def test_a_broker_that_is_away_neither_delays_nor_fails_who_asks(settings: Any) -> None:
    settings.NOA_EMBEDDED = False
    asked, go_on = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        asked.set()
        go_on.wait(10)
        raise OperationalError("refused")

    with mock.patch.object(discovery.discover_models, "apply_async", hang):
        # In this thread: if it waited for the broker, it would never reach `go_on`.
        queueing.enqueue(make("a"))
        queueing.enqueue(make("b"))
        assert asked.wait(10)
        go_on.set()
