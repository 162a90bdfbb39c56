"""Each part is frozen in turn (SIGSTOP): nothing hangs, and nothing wrong is reported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest

from tests.chaos.conftest import Figures
from tests.servers.stack import Stack, Worker
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

# On top of the two seconds of readiness's own timeout, for a busy machine.
_SLOW_MACHINE = 15.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stopped"), web_processes=1) as running:
        yield running


class Readiness:
    """The answers of `/readyz`, and the longest time of one."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.slowest = 0.0

    def wrong(self) -> set[str]:
        """The failing parts."""
        began = monotonic()
        status, answer = self._stack.server.api("GET", "/readyz")
        self.slowest = max(self.slowest, monotonic() - began)
        found = {name for name, part in answer["parts"].items() if not part["ok"]}
        # All web processes share these parts: none of them is taken away.
        assert (status, answer["ready"]) == (200, True), answer
        assert answer["state"] == ("degraded" if found else "ready"), answer
        return found

    def until_only(self, *parts: str) -> None:
        until(lambda: self.wrong() == set(parts), f"exactly {parts or 'nothing'} was wrong", 60)

    def until_at_least(self, part: str) -> None:
        until(lambda: part in self.wrong(), f"'{part}' was wrong", 60)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def loaded(stack: Stack) -> tuple[int, list[dict[str, Any]]]:
    status, answer = stack.server.api("GET", "/api/v1/models/loaded")
    return status, answer.get("instances", [])


def health(stack: Stack) -> str:
    _, found = loaded(stack)
    return str(found[0]["health"]["state"]) if found else "not loaded"


@contextmanager
def readiness(stack: Stack, figures: Figures, part: str) -> Iterator[Readiness]:
    """Everything is ready before and after."""
    one = Readiness(stack)
    one.until_only()
    until(lambda: health(stack) == "healthy", "the model was healthy", 60)
    yield one
    one.until_only()
    until(lambda: health(stack) == "healthy", "the model was healthy again", 60)
    assert one.slowest < _SLOW_MACHINE
    figures.record(f"/readyz while {part} is stopped, slowest", one.slowest, bound=2.5, count=1)


def test_a_stopped_runner_is_said_to_fail_and_replaced(stack: Stack, figures: Figures) -> None:
    with readiness(stack, figures, "a runner") as ready:
        _, (instance,) = loaded(stack)
        with stopped_for_good(instance["pid"]):
            ready.until_only("current")
            until(lambda: health(stack) in ("failing", "not loaded"), "its health said so")
            until(lambda: health(stack) == "healthy", "another runner was there", 60)
        _, (successor,) = loaded(stack)
        assert successor["pid"] != instance["pid"]


@contextmanager
def stopped_for_good(pid: int) -> Iterator[None]:
    """As `stopped`, for a process that will be killed."""
    os.kill(pid, signal.SIGSTOP)
    yield


def test_a_stopped_worker_is_noticed_and_the_model_serves_on(stack: Stack, figures: Figures) -> None:
    with readiness(stack, figures, "the worker") as ready, stopped(stack.worker.process.pid):
        ready.until_only("worker")
        until(lambda: health(stack) == "unknown", "nobody claimed to know the model's health")
        stack.until_current_answers()


def test_a_stopped_database_is_named_and_the_model_serves_on(stack: Stack, figures: Figures) -> None:
    with readiness(stack, figures, "the database") as ready:
        stack.postgres.pause()
        try:
            ready.until_at_least("database")
            assert "current" not in ready.wrong()
            assert loaded(stack)[0] == 503
            stack.until_current_answers()
        finally:
            stack.postgres.resume()


def test_a_stopped_broker_is_named_and_the_model_serves_on(stack: Stack, figures: Figures) -> None:
    with readiness(stack, figures, "the broker") as ready:
        stack.redis.pause()
        try:
            ready.until_only("broker")
            stack.until_current_answers()
        finally:
            stack.redis.resume()


def test_f36_a_second_worker_of_the_same_node_refuses(stack: Stack) -> None:
    second = Worker(stack.environment, stack.worker.log.with_name("second.log")).start()
    assert second.process.wait(60) != 0
    assert "is the worker of node" in second.log.read_text()
    assert Readiness(stack).wrong() == set()


def test_f16_a_worker_that_is_told_to_stop_leaves_its_load_to_the_next(stack: Stack, figures: Figures) -> None:
    _, (instance,) = loaded(stack)
    assert stack.worker.stop() == 0
    until(lambda: "worker" in Readiness(stack).wrong(), "nobody worked")
    began = monotonic()
    stack.worker.start()
    until(lambda: health(stack) == "healthy", "the next worker had made it true again", 60)
    figures.record("F16 worker stopped: the next one serves", monotonic() - began, bound=10, count=1)
    assert loaded(stack)[1][0]["pid"] != instance["pid"]


def test_f13_nothing_outlives_a_worker_that_is_killed(
    stack: Stack, figures: Figures, times: Callable[[int, int], int]
) -> None:
    count, took = times(1, 50), []
    for _ in range(count):
        until(lambda: health(stack) == "healthy", "the model was healthy", 60)
        _, (instance,) = loaded(stack)
        stack.worker.kill()
        until(lambda: not os.path.exists(f"/proc/{instance['pid']}"), "its runner had gone", 10)  # noqa: B023
        began = monotonic()
        stack.worker.start()
        until(lambda: health(stack) == "healthy", "it was back", 60)
        took.append(monotonic() - began)
    figures.record("F13 orphans of a killed worker", 0, bound=0, count=count, unit="")
    figures.record("F13 worker killed: back, worst", max(took), bound=10, count=count)
