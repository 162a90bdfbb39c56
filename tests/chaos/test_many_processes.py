"""Four web processes on SQLite with the embedded worker: one load for all requests, and no lock errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from tests.chaos.conftest import Figures
from tests.chaos.percentiles import percentile
from tests.journeys.server import NoaServer
from tests.servers.stack import EMBER, TIDE

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(400)]

Times = Callable[[int, int], int]
WRITERS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    folder = tmp_path_factory.mktemp("many") / "data"
    running = NoaServer(folder, arguments=["--workers", "4"]).start()
    yield running
    running.kill()


def chat(server: NoaServer, key: str) -> tuple[int, Any, float]:
    body = {"model": key, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
    status, answer = server.api("POST", "/v1/chat/completions", body)
    return status, answer, monotonic()


def test_first_requests_on_all_processes_are_one_load(server: NoaServer, figures: Figures, times: Times) -> None:
    """F4"""
    count = times(20, 200)
    with ThreadPoolExecutor(count) as pool:
        ended = list(pool.map(lambda _: chat(server, TIDE), range(count)))
    assert [answer for status, answer, _ in ended if status != 200] == []
    _, events = server.api("GET", "/api/v1/events?name=model-loaded&limit=100")
    loads = [event for event in events["events"] if event["subject"] == TIDE]
    assert len(loads) == 1
    at = [moment for *_, moment in ended]
    figures.record("loads for first requests on 4 processes", len(loads), bound=1, count=count, unit="")
    figures.record("spread of their answers", max(at) - min(at), bound=1, count=count)


def test_writers_of_all_processes_never_meet_a_lock(server: NoaServer, figures: Figures, times: Times) -> None:
    """F37: writers wait for each other; no request fails with "database is locked"."""
    writes = times(160, 10_000)
    took: list[float] = []
    refused: list[Any] = []
    turn = threading.Lock()
    left = iter(range(writes))

    def write(number: int) -> None:
        while True:
            with turn:
                this = next(left, None)
            if this is None:
                return
            began = monotonic()
            key = (EMBER, TIDE)[this % 2]
            status, answer = server.api("PATCH", f"/api/v1/models/{key}", {"tags": [f"w{number}-{this}"]})
            took.append(monotonic() - began)
            if status != 200:
                refused.append(answer)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    swaps = 0
    while any(thread.is_alive() for thread in threads):
        key = (TIDE, EMBER)[swaps % 2]
        body = {"key": key, "keep_previous": True}
        status, answer = server.api("POST", "/api/v1/models/switch?wait=60", body)
        swaps += status == 200
        if status not in (200, 409):
            refused.append(answer)
        assert chat(server, "current")[0] == 200
    assert refused == []
    assert "database is locked" not in server.text
    assert swaps > 0
    figures.record("writes refused by a locked database", len(refused), bound=0, count=writes, unit="")
    figures.record("p99 of a write among 8 writers", percentile(took, 0.99), bound=20, count=writes)
