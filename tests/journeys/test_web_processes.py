"""`serve --workers N`: several web processes, one worker, no request lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.journeys.server import NoaServer
from tests.journeys.traffic import Traffic
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
EMBER, TIDE = "llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide"


def web_processes(server: NoaServer) -> set[int]:
    return {one.pid for one in psutil.Process(server.process.pid).children() if is_web(one)}


def all_refuse(server: NoaServer, key: str) -> bool:
    return all(server.api("GET", "/v1/models", key=key)[0] == 401 for _ in range(20))


def is_web(process: psutil.Process) -> bool:
    try:
        return "web_process" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@pytest.fixture
def server(own_server: Own) -> Iterator[NoaServer]:
    yield own_server(arguments=["--workers", "2"]).start()


def test_every_process_serves_and_each_dies_and_is_replaced_alone(server: NoaServer) -> None:
    assert len(web_processes(server)) == 2
    # Jobs created by any web process reach the one worker without a broker.
    for key in (TIDE, EMBER, TIDE):
        status, job = server.api("POST", "/api/v1/models/switch?wait=60", {"key": key})
        assert (status, job["state"]) == (200, "succeeded"), job
    # A revoked key is refused by each of them: every request is a new connection, which any of them can accept.
    status, key = server.api("POST", "/api/v1/api-keys", {"name": "short", "scopes": ["infer"]})
    assert status == 201, key
    assert server.api("GET", "/v1/models", key=key["key"])[0] == 200
    assert server.api("DELETE", f"/api/v1/api-keys/{key['key_id']}")[0] == 204
    until(lambda: all_refuse(server, key["key"]), "all processes refused the revoked key")
    before = web_processes(server)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(web_processes(server) - {victim}) == 2, "a successor had started")
    with Traffic(server, clients=4) as traffic:
        until(lambda: traffic.answered > 40, "the successor served")
    assert traffic.failures == []
    runners = server.runner_pids()
    assert server.stop(signal.SIGTERM) == 0
    assert not any(psutil.pid_exists(pid) for pid in [*before, *runners])


def test_a_rolling_restart_refuses_and_cuts_nothing(server: NoaServer) -> None:
    before = web_processes(server)
    with Traffic(server, clients=4, streams=2) as traffic:
        until(lambda: traffic.answered > 40, "traffic flowed")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: not web_processes(server) & before, "all processes were replaced", 60)
        answered = traffic.answered
        until(lambda: traffic.answered > answered + 40, "the new ones served")
    assert traffic.failures == []
    assert len(web_processes(server)) == 2
