"""Periodic tasks: each on its own, at once when triggered, and again after an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from models_app.services.coordination import leases
from models_app.tasks.periodic import PeriodicTask, Scheduler

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., Scheduler]
SECONDS = 20.0


def every(seconds: float) -> Callable[[], float]:
    return lambda: seconds


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def begin(*tasks: PeriodicTask) -> Scheduler:
        started.append(Scheduler(tasks))
        started[-1].start()
        return started[-1]

    yield begin
    for one in started:
        one.stop()


def test_a_look_that_fails_comes_again(start: Start) -> None:
    came = threading.Semaphore(0)

    def fail() -> None:
        came.release()
        raise ZeroDivisionError

    start(PeriodicTask("fails", every(0.01), fail))
    assert all(came.acquire(timeout=SECONDS) for _ in range(3))


def test_a_look_that_hangs_delays_no_other_and_no_stop(start: Start) -> None:
    hang, came = threading.Event(), threading.Semaphore(0)

    def hanging() -> None:
        hang.wait(SECONDS)

    scheduler = start(
        PeriodicTask("hangs", every(0.01), hanging),
        PeriodicTask("other", every(0.01), came.release),
    )
    assert all(came.acquire(timeout=SECONDS) for _ in range(3))
    hang.set()
    scheduler.stop()


def test_a_look_comes_at_once_when_it_is_stirred(start: Start) -> None:
    came = threading.Semaphore(0)
    scheduler = start(PeriodicTask("rare", every(3600), came.release))
    assert came.acquire(timeout=SECONDS)
    scheduler.trigger("rare")
    assert came.acquire(timeout=SECONDS)
    scheduler.trigger("of another process")


def test_what_only_one_may_do_is_left_to_who_has_the_lease(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)

    def refuse(**_: object) -> bool:
        tried.release()
        return False

    monkeypatch.setattr(leases, "claim", refuse)
    came = threading.Event()
    start(PeriodicTask("alone", every(0.01), came.set, alone=True))
    assert all(tried.acquire(timeout=SECONDS) for _ in range(3))
    assert not came.is_set()
