"""Runners that serve requests are trusted, idle ones compute a token, and those that hang are replaced."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_app.domain.catalog.options import LoadOptions
from models_app.domain.errors import RunnerDied
from models_app.domain.residency.health import FAILURES_ALLOWED, Health
from models_app.domain.states import InstanceState, JobState
from models_app.engines import control
from models_app.models import Event, Instance, Job, Recovery
from models_app.services.lifecycle import loading
from models_app.services.reporting import statistics
from models_app.services.runners import health, node, recovery
from models_app.services.runners.health import Watch
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "llama.cpp:a"
Load = Callable[..., Instance]
# Seconds of a check that cannot succeed.
SOON = 0.05


@pytest.fixture
def load(
    two_models: Path,
    start_node: Callable[..., None],
    do: Callable[..., Job],
) -> Iterator[Load]:
    """Loads a model in a runner with the named behaviour."""

    def load(behaviour: str = "good") -> Instance:
        start_node(behaviour)
        assert do(loading.load, key=KEY, options=LoadOptions()).state == JobState.SUCCEEDED
        return Instance.objects.get()

    yield load
    # A stopped runner would ignore SIGTERM, and the node wait for its whole grace.
    for pid in Instance.objects.filter(pid__gt=0).values_list("pid", flat=True):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or 0, signal.SIGCONT)


Stop = Callable[[Instance], None]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Stops a runner's process. From then on checks time out soon: it can never answer."""

    def stop(instance: Instance) -> None:
        os.kill(instance.pid or 0, signal.SIGSTOP)
        monkeypatch.setattr(health, "_ANSWER_SECONDS", SOON)
        monkeypatch.setattr(statistics, "_HEALTH_SECONDS", SOON)

    return stop


def steps(instance: Instance) -> int:
    return int(control.health(instance.socket)["counters"]["steps"])


def ask(instance: Instance) -> None:
    """Sends a request as an application does."""
    control.canary(instance.socket, embeddings=False, timeout=10)


def test_one_that_serves_needs_no_canary(load: Load, settings: Any) -> None:
    settings.NOA_CANARY_SECONDS = 1e-9
    instance, watch = load(), Watch()
    watch.check_all()
    for _ in range(3):
        ask(instance)
        watch.check_all()
    assert steps(instance) == 3
    instance.refresh_from_db()
    assert instance.health == Health.HEALTHY
    assert instance.last_success_at is not None


def test_one_that_is_idle_for_long_is_asked_for_one_token(load: Load, settings: Any) -> None:
    settings.NOA_CANARY_SECONDS = 1e-9
    instance, watch = load(), Watch()
    watch.check_all()
    watch.check_all()
    assert steps(instance) == 1


def test_without_canaries_an_idle_one_is_believed(load: Load, settings: Any) -> None:
    settings.NOA_CANARY_SECONDS = 0
    instance, watch = load(), Watch()
    watch.check_all()
    watch.check_all()
    assert steps(instance) == 0


def check_until_replaced(watch: Watch) -> None:
    for _ in range(FAILURES_ALLOWED):
        assert Instance.objects.get().state == InstanceState.READY
        watch.check_all()


def test_one_that_is_stopped_is_ended_and_comes_back(load: Load, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "STOP_GRACE", 0.2)
    instance, watch = load(), Watch()
    watch.check_all()
    stop(instance)
    watch.check_all()
    instance.refresh_from_db()
    assert instance.health == Health.FAILING
    assert "does not answer" in instance.health_reason
    watch.check_all()
    watch.check_all()
    instance.refresh_from_db()
    assert (instance.state, instance.failure_stage) == (InstanceState.FAILED, "serve")
    assert instance.hung_requests is None, "it was held from outside"
    assert not psutil.pid_exists(instance.pid or 0)
    assert Event.objects.get(name="instance-failed").actor == "health"
    assert [job.subject for job in recovery.due()] == [KEY]


def test_the_request_that_hangs_one_is_known(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "STOP_GRACE", 0.2)
    monkeypatch.setattr(health, "_ANSWER_SECONDS", SOON)
    instance = load("hangs --crash-at hang!")
    watch = Watch()
    killer = socket.socket(socket.AF_UNIX)
    with killer:
        killer.connect(instance.socket)
        body = b'{"messages": "hang!"}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nX-NOA-Request: request-1\r\nContent-Length: {len(body)}\r\n\r\n"
        killer.sendall(head.encode() + body)
        until(lambda: not answers(instance), "it hangs")
        check_until_replaced(watch)
    instance.refresh_from_db()
    assert instance.state == InstanceState.FAILED
    assert instance.hung_requests == ["request-1"]
    assert not list(Path(instance.socket).parent.glob("*.work")), "the file of its marks is gone"


def answers(instance: Instance) -> bool:
    try:
        control.health(instance.socket, timeout=0.5)
    except RunnerDied:
        return False
    return True


def test_one_that_answers_but_computes_nothing_is_ended_too(
    load: Load, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "STOP_GRACE", 0.2)
    monkeypatch.setattr(health, "_CANARY_SECONDS", SOON)
    settings.NOA_CANARY_SECONDS = 1e-9
    load("computes-nothing")
    watch = Watch()
    watch.check_all()
    check_until_replaced(watch)
    assert Instance.objects.get().state == InstanceState.FAILED


def test_one_that_recovers_in_time_is_left_alone(load: Load, stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    instance, watch = load(), Watch()
    watch.check_all()
    stop(instance)
    watch.check_all()
    watch.check_all()
    os.kill(instance.pid or 0, signal.SIGCONT)
    monkeypatch.setattr(health, "_ANSWER_SECONDS", 10.0)
    watch.check_all()
    instance.refresh_from_db()
    assert (instance.state, instance.health) == (InstanceState.READY, Health.HEALTHY)
    assert instance.health_reason == ""


def test_its_successor_waits_until_it_has_given_its_memory_back(
    load: Load, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def still_there(*, instance_id: str, grace: float) -> None:
        assert Recovery.objects.get().due_at is not None
        assert recovery.due() == []

    monkeypatch.setattr(node, "end_runner", still_there)
    instance, watch = load(), Watch()
    watch.check_all()
    stop(instance)
    check_until_replaced(watch)
    assert [job.subject for job in recovery.due()] == [KEY]


def test_the_list_of_loaded_models_says_at_once_that_one_does_not_answer(load: Load, stop: Stop) -> None:
    instance = load()
    Watch().check_all()
    (seen,) = statistics.loaded()
    assert seen.health_shown.state == Health.HEALTHY  # type: ignore[attr-defined]
    stop(instance)
    (seen,) = statistics.loaded()
    assert seen.health_shown.state == Health.FAILING  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answers", "silent", "state"),
    [
        (True, {}, Health.HEALTHY),
        (None, {}, Health.HEALTHY),
        (False, {}, Health.FAILING),
        (True, {"local": 31.0}, Health.UNKNOWN),
        (None, {"local": 31.0}, Health.UNKNOWN),
        (None, {"other": 31.0}, Health.HEALTHY),
    ],
)
def test_what_nobody_looks_after_is_not_called_healthy(
    answers: bool | None, silent: dict[str, float], state: Health
) -> None:
    instance = Instance(node="local", state=InstanceState.READY, health=Health.HEALTHY)
    shown = health.shown(instance=instance, stale=silent, answers=answers)
    assert shown.state == state
    assert bool(shown.reason) == (state != Health.HEALTHY)


def test_a_check_during_which_this_process_stood_still_proves_nothing(
    load: Load, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, watch = load(), Watch()
    watch.check_all()
    stop(instance)
    stood_still = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(health, "missed", lambda: float(next(stood_still)))
        for _ in range(2 * FAILURES_ALLOWED):
            watch.check_all()
    instance.refresh_from_db()
    assert (instance.state, watch.seen[instance.pk].failures) == (InstanceState.READY, 0)
    watch.check_all()
    assert watch.seen[instance.pk].failures == 1
