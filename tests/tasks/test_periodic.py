"""What comes again and again: each by itself, at once when it is stirred, and whatever happens to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from models_app.services.coordination import leases
from models_app.tasks.periodic import Look, Rounds

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., Rounds]
SECONDS = 20.0


def every(seconds: float) -> Callable[[], float]:
    return lambda: seconds


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Rounds] = []

    def begin(*looks: Look) -> Rounds:
        started.append(Rounds(looks))
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

    start(Look("fails", every(0.01), fail))
    assert all(came.acquire(timeout=SECONDS) for _ in range(3))


def test_a_look_that_hangs_delays_no_other_and_no_stop(start: Start) -> None:
    hang, came = threading.Event(), threading.Semaphore(0)

    def hanging() -> None:
        hang.wait(SECONDS)

    rounds = start(
        Look("hangs", every(0.01), hanging),
        Look("other", every(0.01), came.release),
    )
    assert all(came.acquire(timeout=SECONDS) for _ in range(3))
    hang.set()
    rounds.stop()


def test_a_look_comes_at_once_when_it_is_stirred(start: Start) -> None:
    came = threading.Semaphore(0)
    rounds = start(Look("rare", every(3600), came.release))
    assert came.acquire(timeout=SECONDS)
    rounds.stir("rare")
    assert came.acquire(timeout=SECONDS)
    rounds.stir("of another process")


def test_what_only_one_may_do_is_left_to_who_has_the_lease(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)

    def refuse(**_: object) -> bool:
        tried.release()
        return False

    monkeypatch.setattr(leases, "claim", refuse)
    came = threading.Event()
    start(Look("alone", every(0.01), came.set, alone=True))
    assert all(tried.acquire(timeout=SECONDS) for _ in range(3))
    assert not came.is_set()
