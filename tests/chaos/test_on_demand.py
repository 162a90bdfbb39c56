"""Cold models, many concurrent requests for them, and requests that crash runners."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import crowd
from tests.chaos.conftest import Figures
from tests.journeys.rows import query
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

Times = Callable[[int, int], int]
WEB_PROCESSES = 4
# Loads must be faster than the time-out of requests that wait for them.
PATIENT = {"NOA_COLD_WAIT": "300"}
# Both demo models are registered, and the other one is current.
COLD = "llama.cpp:noa-demo-tide"


def body(text: str = "Hello!", *, model: str = COLD, stream: bool = False) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": model, "messages": [message], "max_tokens": 4, "stream": stream}


def faked(behaviour: str, **environment: str) -> dict[str, str]:
    """The environment of a server with fake runners."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.chaos.fake_runner_settings",
        "NOA_TEST_RUNNER": f"--behaviour {behaviour}",
    } | environment


@dataclass
class Held:
    """A server whose `current` is loaded; a load of its other model waits for the test."""

    server: NoaServer
    _go: Path

    def hold(self) -> None:
        """Unload the other model, and make its next load wait."""
        self._go.unlink(missing_ok=True)
        if any(one["key"] == COLD for one in loaded(self.server)):
            status, job = self.server.api("POST", "/api/v1/models/unload?wait=60", {"key": COLD})
            assert status == 200, job

    def let_go(self) -> None:
        self._go.touch()


def start_held(folder: Path, *arguments: str, **environment: str) -> Held:
    go = folder / "go"
    go.touch()
    server = NoaServer(
        folder / "data",
        environment=faked(f"waits-for-go --go {go}", **PATIENT, **environment),
        arguments=list(arguments),
    ).start()
    return Held(server, go)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    made = start_held(tmp_path_factory.mktemp("held"), "--workers", str(WEB_PROCESSES))
    yield made
    made.server.kill()


@pytest.fixture
def held(shared: Held) -> Held:
    shared.hold()
    return shared


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    """A server whose runners crash on a request with `die!` in it."""
    made = NoaServer(
        tmp_path_factory.mktemp("crashing") / "data",
        environment=faked("crashes --crash-at die!", **PATIENT),
        arguments=["--workers", str(WEB_PROCESSES)],
    ).start()
    yield made
    made.kill()


def loaded(server: NoaServer) -> list[dict[str, Any]]:
    _, answer = server.api("GET", "/api/v1/models/loaded")
    found: list[dict[str, Any]] = answer["instances"]
    return found


def loads_of(server: NoaServer, key: str) -> int:
    """All instances that a model has ever had."""
    _, answer = server.api("GET", f"/api/v1/models/{key}/instances")
    return len(answer["instances"])


def waiting(server: NoaServer) -> tuple[int, int]:
    """Pending requests, and the number of processes that have some."""
    ((count, processes),) = query(server, "SELECT coalesce(sum(waiting), 0), count(*) FROM models_app_demand")
    return int(str(count)), int(str(processes))


class Crowd(threading.Thread):
    """Sends all requests at once, in the background."""

    def __init__(self, server: NoaServer, bodies: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._server, self._bodies = server, bodies
        self.ended: list[crowd.Ended] = []
        self.start()

    def run(self) -> None:
        self.ended = crowd.ask(self._server, self._bodies)

    def result(self) -> list[crowd.Ended]:
        self.join(120)
        assert not self.is_alive(), "some requests had no answer after two minutes"
        return self.ended


def test_f4_a_crowd_at_several_web_processes_causes_one_load(held: Held, figures: Figures, times: Times) -> None:
    for count in {20, times(20, 200)}:
        # The processes share one socket: which one accepts a connection is random, and one can accept them all.
        spread = any(one_load_for(held, count, figures) > 1 for _ in range(10))
        assert spread, "ten crowds came to one process each"


def one_load_for(held: Held, count: int, figures: Figures) -> int:
    """Concurrent requests for the cold model, loaded once for all; returns the number of processes that held some."""
    server = held.server
    held.hold()
    before = loads_of(server, COLD)
    asking = Crowd(server, [body(stream=bool(number % 2)) for number in range(count)])
    until(lambda: waiting(server)[0] == count, f"{count} requests waited")
    processes = waiting(server)[1]
    held.let_go()
    ended = asking.result()
    assert [one for one in ended if one.status != 200 or not one.whole] == []
    loads = loads_of(server, COLD) - before
    assert loads == 1
    first_bytes = [one.asked_at + one.first_byte for one in ended]
    apart = max(first_bytes) - min(first_bytes)
    figures.record("F4 loads", loads, bound=1, count=count, unit="loads")
    figures.record("F4 spread of first bytes", apart, bound=1.0, count=count)
    figures.record("F4 web processes", processes, bound=WEB_PROCESSES, count=count, unit="")
    return processes


def test_f28_clients_that_leave_while_they_wait_cost_nothing(held: Held, times: Times) -> None:
    server = held.server
    count = times(20, 100)
    before = loads_of(server, COLD)
    stayer = Crowd(server, [body()])
    until(lambda: waiting(server)[0] == 1, "one request waited")
    clients = [client(server, body()) for _ in range(count)]
    until(lambda: waiting(server)[0] == count + 1, "all clients waited")
    for one in clients:
        one.close()
    until(lambda: waiting(server)[0] == 1, "the places of those who had left were free")
    held.let_go()
    assert [one.status for one in stayer.result()] == [200]
    assert loads_of(server, COLD) - before == 1
    until(lambda: waiting(server)[0] == 0, "nobody waited")
    left = "SELECT count(*) FROM models_app_accesslog WHERE error_code = 'client_left' AND attempts = 0"
    until(lambda: query(server, left) == [(count,)], "each of them was recorded once")


def client(server: NoaServer, what: dict[str, Any]) -> http.client.HTTPConnection:
    """A connection on which a request was sent, without reading the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {
        "Authorization": f"Bearer {server.api_key}",
        "Content-Type": "application/json",
    }
    connection.request("POST", "/v1/chat/completions", json.dumps(what), headers)
    return connection


def test_f31_a_flood_is_refused_at_once_and_hurts_nobody_else(tmp_path: Path, figures: Figures) -> None:
    held = start_held(tmp_path, NOA_QUEUE_LIMIT="64")
    server = held.server
    try:
        held.hold()
        flood = Crowd(server, [body() for _ in range(500)])
        until(lambda: waiting(server)[0] == 64, "the queue was full")
        # Requests to another model are not affected.
        other = crowd.ask(server, [body(model="current") for _ in range(20)])
        assert {one.status for one in other} == {200}
        refusals = [crowd.ask(server, [body()])[0] for _ in range(20)]
        assert {(one.status, one.code) for one in refusals} == {(503, "queue_full")}
        assert all(int(one.retry_after) > 0 for one in refusals)
        slowest = max(one.seconds for one in refusals)
        figures.record("F31 refusal beside a full queue", slowest, bound=0.05, count=20)
        held.let_go()
        ended = flood.result()
        assert len([one for one in ended if one.status == 200]) == 64
        refused = {(one.status, one.code) for one in ended if one.status != 200}
        assert refused == {(503, "queue_full")}
        assert crowd.ask(server, [body()])[0].status == 200, "the next request is answered"
    finally:
        server.kill()


def test_f12_a_request_that_crashes_runners_is_refused_after_two(crashing: NoaServer, figures: Figures) -> None:
    before = deaths_of(crashing)
    ended = [crowd.ask(crashing, [body("die! 10", model="current")])[0] for _ in range(10)]
    deaths = deaths_of(crashing) - before
    assert {one.code for one in ended[1:]} == {"request_crashes_runner"}, ended
    assert {one.status for one in ended[1:]} == {422}
    assert deaths <= 2
    figures.record("F12 deaths of a killer sent 10 times", deaths, bound=2, count=10, unit="deaths")
    # The request was at fault, not the model: others are answered.
    after = crowd.ask(crashing, [body(f"Hello {n}!", model="current") for n in range(10)])
    assert {one.status for one in after} == {200}


def test_f12_who_asks_beside_a_killer_is_answered_and_not_refused(
    crashing: NoaServer, figures: Figures, times: Times
) -> None:
    before = deaths_of(crashing)
    innocent = [body(f"Hello {number}!", model="current") for number in range(times(16, 64))]
    killers = [body("die! beside others", model="current")] * WEB_PROCESSES
    for _ in range(3):
        ended = crowd.ask(crashing, [*innocent[:8], *killers, *innocent[8:]])
        guilty = ended[8 : 8 + WEB_PROCESSES]
        assert {one.status for one in ended if one not in guilty} == {200}, ended
        assert {one.status for one in guilty} <= {422, 502}
    deaths = deaths_of(crashing) - before
    assert deaths <= 2
    figures.record("F12 deaths of a killer in a crowd", deaths, bound=2, count=12, unit="deaths")


def deaths_of(server: NoaServer) -> int:
    sql = "SELECT count(*) FROM models_app_event WHERE name = 'instance-failed'"
    return int(str(query(server, sql)[0][0]))
