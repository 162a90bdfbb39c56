"""Threads that wait for jobs: no connection, one query for all of them, a bounded number of requests."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest
from django.db import DatabaseError, connection, connections
from django.db.models import QuerySet

from models_app.domain.errors import Unavailable
from models_app.domain.states import JobKind, JobState
from models_app.models import Job
from models_app.services.jobs import jobs, waiting
from tests.waiting import until

# A second has four polls; the threads begin one after the other.
SHARED_READS = 8


def make(subject: str = "p:a") -> Job:
    return jobs.create(kind=JobKind.LOAD, subject=subject, arguments={}, actor="test")[0]


def end(job: Job) -> None:
    jobs._move(str(job.pk), JobState.RUNNING)
    assert jobs.end(job_id=str(job.pk), state=JobState.SUCCEEDED)


class Crowd:
    """Threads that wait, and their database connections."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self._pool = ThreadPoolExecutor(64)

    def wait(self, job: Job, seconds: float) -> Any:
        return self._pool.submit(self._wait, job.pk, seconds)

    def _wait(self, job_id: uuid.UUID, seconds: float) -> JobState:
        self.connections.append(connections["default"])
        try:
            return JobState(waiting.wait(job_id=job_id, seconds=seconds).state)
        finally:
            connection.close()

    @property
    def holds_none(self) -> bool:
        return len(self.connections) == 64 and not any(each.connection for each in self.connections)


@pytest.mark.django_db(transaction=True)
def test_waiting_threads_hold_no_connection_and_all_hear_of_the_end() -> None:
    job, crowd = make(), Crowd()
    results = [crowd.wait(job, 60) for _ in range(64)]
    until(lambda: crowd.holds_none, "64 threads waited without a connection")
    end(job)
    assert {result.result(30) for result in results} == {JobState.SUCCEEDED}


@pytest.mark.django_db(transaction=True)
def test_the_end_in_another_process_is_found_by_the_shared_poll() -> None:
    job, crowd = make(), Crowd()
    results = [crowd.wait(job, 60) for _ in range(64)]
    until(lambda: crowd.holds_none, "64 threads waited without a connection")
    # Without the signals of this process.
    Job.objects.filter(pk=job.pk).update(state=JobState.FAILED)
    assert {result.result(30) for result in results} == {JobState.FAILED}


@pytest.mark.django_db(transaction=True)
def test_many_waiting_threads_cost_the_reads_of_one() -> None:
    watched, crowd = [make(f"p:{number}") for number in range(64)], Crowd()
    read = waiting._Waiters._read
    with mock.patch.object(waiting._Waiters, "_read", autospec=True, side_effect=read) as reads:
        results = [crowd.wait(job, 1.0) for job in watched]
        assert {result.result(30) for result in results} == {JobState.QUEUED}
    assert 1 <= reads.call_count <= SHARED_READS


@pytest.mark.django_db(transaction=True)
def test_a_wait_outlives_a_database_that_fails_for_a_moment() -> None:
    job, crowd = make(), Crowd()
    failed = threading.Event()

    def fail(rows: Any) -> Any:
        failed.set()
        raise DatabaseError("gone")

    with mock.patch.object(QuerySet, "order_by", fail):
        result = crowd.wait(job, 60)
        assert failed.wait(20)
    end(job)
    assert result.result(30) == JobState.SUCCEEDED


def test_places_are_bounded_in_all_and_for_each_caller() -> None:
    room = waiting.Room(3, share=2)
    with room.place("a"), room.place("b"):
        with room.place("a"):
            refused("c", room)
        with room.place("a"):
            refused("a", room)
        with room.place("c"):
            refused("c", room)
    with room.place("c"), room.place("c"):
        refused("c", room)


def refused(caller: str, room: waiting.Room) -> None:
    with pytest.raises(Unavailable) as found, room.place(caller):
        pass
    assert (found.value.code, found.value.retry_after) == ("too_many_waiting", 5)


def test_places_come_back_after_errors() -> None:
    room = waiting.Room(1, share=1)

    def fail() -> None:
        with room.place("a"):
            raise ValueError

    attempts: list[Callable[[], None]] = [fail] * 3
    for attempt in attempts:
        with pytest.raises(ValueError):
            attempt()
