"""Runners, workers and servers killed or stopped under load: what recovers, when, and what is left behind."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from tests.chaos.conftest import IS_FULL, Figures
from tests.chaos.percentiles import percentile
from tests.journeys.server import NoaServer
from tests.journeys.traffic import Traffic
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]
Own = Callable[..., NoaServer]
EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"
# The limit on a busy machine; the goal is the figures' bound.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    running = NoaServer(tmp_path_factory.mktemp("recovery") / "data").start()
    yield running
    running.kill()


def loaded(server: NoaServer) -> list[dict[str, Any]]:
    _, answer = server.api("GET", "/api/v1/models/loaded")
    found: list[dict[str, Any]] = answer["instances"]
    return found


def ready(server: NoaServer) -> dict[str, int]:
    """Process ids of the ready runners, by key."""
    return {one["key"]: one["pid"] for one in loaded(server) if one["state"] == "ready"}


def current(server: NoaServer) -> str:
    _, answer = server.api("GET", "/api/v1/models/current")
    return str(answer["model"]["key"])


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def forget_deaths(server: NoaServer) -> None:
    """Reset each model's deaths: recovery gives up only after the fifth in minutes."""
    with closing(sqlite3.connect(server.data_dir / "noa.sqlite3", timeout=20)) as database:
        database.execute("UPDATE models_app_recovery SET deaths = '[]'")
        database.commit()


def seconds_until_back(server: NoaServer, key: str, dead: int) -> float:
    """Seconds until the model has a ready runner that is not `dead`."""
    began = monotonic()
    until(lambda: ready(server).get(key, dead) != dead, f"{key} was back", PATIENCE)
    return monotonic() - began


def more(traffic: Traffic, requests: int) -> None:
    before = traffic.answered
    until(lambda: traffic.answered >= before + requests, "traffic flowed", PATIENCE)


def test_f8_a_runner_that_is_killed_under_load_is_back_within_seconds(
    server: NoaServer, figures: Figures, times: Times
) -> None:
    key, count, streams = current(server), times(3, 20), 2
    took: list[float] = []
    with (
        Traffic(server, clients=3) as whole,
        Traffic(server, clients=0, streams=streams) as streamed,
    ):
        for _ in range(count):
            more(whole, 5)
            forget_deaths(server)
            pid = ready(server)[key]
            os.kill(pid, signal.SIGKILL)
            took.append(seconds_until_back(server, key, pid))
            more(whole, 5)
    # Whole answers are retried; a stream that has begun ends with an error event.
    assert whole.failures == []
    assert len(streamed.failures) <= count * streams
    assert all("runner_died" in failure for failure in streamed.failures), streamed.failures
    figures.record("F8 runner killed: back, p95", percentile(took, 0.95), bound=3.0, count=count)
    figures.record("F8 failed whole answers", len(whole.failures), bound=0, count=count, unit="")
    figures.record("F8 cut streams", len(streamed.failures), bound=count * streams, count=count, unit="")


@pytest.mark.skipif(not IS_FULL, reason="tests/chaos/test_stopped_parts.py does it once")
def test_f9_a_runner_that_hangs_is_replaced(server: NoaServer, figures: Figures, times: Times) -> None:
    key, count = current(server), times(1, 20)
    took: list[float] = []
    for _ in range(count):
        forget_deaths(server)
        pid = ready(server)[key]
        os.kill(pid, signal.SIGSTOP)
        (shown,) = [one["health"] for one in loaded(server) if one["key"] == key]
        assert shown["state"] == "failing", shown
        took.append(seconds_until_back(server, key, pid))
        assert not alive(pid)
    figures.record("F9 runner hung: back, worst", max(took), bound=25.0, count=count)


def test_f13_nothing_outlives_a_server_that_is_killed(own_server: Own, figures: Figures, times: Times) -> None:
    """With the embedded worker, which is the server. Under load, at any moment."""
    chance, count, orphans = random.Random(13), times(1, 50), 0
    took: list[float] = []
    server = own_server().start()
    key = server.api_key
    for _ in range(count):
        with Traffic(server, clients=2) as traffic:
            more(traffic, 1 + chance.randrange(10))
            runners = ready(server).values()
            server.kill()
            orphans += not _are_gone(list(runners))
        began = monotonic()
        server = own_server(data_dir=server.data_dir, api_key=key).start()
        until(lambda: ready(server), "a model was ready again", PATIENCE)  # noqa: B023
        took.append(monotonic() - began)
    assert orphans == 0
    figures.record("F13 servers killed that left a runner", orphans, bound=0, count=count, unit="")
    figures.record("F13 server killed: back, p95", percentile(took, 0.95), bound=30, count=count)


def _are_gone(pids: list[int]) -> bool:
    """Waits the ten seconds by which a runner can outlive its owner."""
    try:
        until(lambda: not any(map(alive, pids)), "the runners had gone", 10)
    except AssertionError:
        return False
    return True


def cut_at_random(path: Path, chance: random.Random) -> None:
    """Simulate a power cut: data not synced to the disk is lost."""
    if path.exists() and path.stat().st_size:
        os.truncate(path, chance.randrange(path.stat().st_size + 1))


def settle(server: NoaServer) -> None:
    """Sync what has been written so far to the disk. (SQLite does so every thousand pages.)"""
    with closing(sqlite3.connect(server.data_dir / "noa.sqlite3", timeout=20)) as database:
        database.execute("PRAGMA wal_checkpoint(FULL)")


def is_consistent(server: NoaServer) -> bool:
    with closing(sqlite3.connect(server.data_dir / "noa.sqlite3", timeout=20)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_f35_the_same_models_are_ready_after_a_power_cut(own_server: Own, figures: Figures, times: Times) -> None:
    """Killed at a random moment of a switch, with the end of the write-ahead log lost."""
    chance, count = random.Random(35), times(1, 50)
    took: list[float] = []
    server = own_server().start()
    key = server.api_key
    for model in (EMBER, TIDE):
        assert server.api("POST", "/api/v1/models/load?wait=60", {"key": model})[0] == 200
    until(lambda: len(ready(server)) == 2, "both were ready")
    for _ in range(count):
        settle(server)
        other = next(model for model in (EMBER, TIDE) if model != current(server))
        server.api("POST", "/api/v1/models/switch", {"key": other, "keep_previous": True})
        signal.sigtimedwait([], chance.random() * 0.3)
        server.kill()
        cut_at_random(server.data_dir / "noa.sqlite3-wal", chance)
        began = monotonic()
        server = own_server(data_dir=server.data_dir, api_key=key).start()
        until(lambda: set(ready(server)) == {EMBER, TIDE}, "both were ready", PATIENCE)  # noqa: B023
        took.append(monotonic() - began)
        assert is_consistent(server)
        assert current(server) in (EMBER, TIDE)
    figures.record("F35 power cut: all models ready, worst", max(took), bound=30, count=count)
