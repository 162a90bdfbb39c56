"""Clients that disconnect while a real model works on their requests: it stops within a second, in any stage."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import psutil
import pytest

from tests.chaos.conftest import Figures
from tests.chaos.percentiles import percentile
from tests.journeys.rows import query
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
Times = Callable[[int, int], int]


def sent(server: NoaServer, text: str, *, stream: bool = True) -> http.client.HTTPConnection:
    """A request in flight for a long answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body: dict[str, Any] = {
        "model": "current",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 2000,
        "stream": stream,
    }
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def in_flight(server: NoaServer) -> int:
    _, answer = server.api("GET", "/api/v1/models/loaded")
    return sum(one["in_flight"] or 0 for one in answer["instances"])


def until_idle(server: NoaServer) -> float:
    """Seconds until no request is in the runner."""
    began = monotonic()
    until(lambda: in_flight(server) == 0, "the runner was idle")
    return monotonic() - began


def test_f28_a_client_that_leaves_stops_its_runner(own_server: Own, figures: Figures, times: Times) -> None:
    server = own_server().start()
    count = times(10, 100)
    seconds: dict[str, list[float]] = {"prefill": [], "decode": [], "queue": []}
    for number in range(count):
        early = sent(server, f"{number} " * 300, stream=bool(number % 2))
        early.close()
        seconds["prefill"].append(until_idle(server))
        late = sent(server, "Tell me everything.")
        answer = late.getresponse()
        answer.readline()
        answer.close()
        late.close()
        seconds["decode"].append(until_idle(server))
    for _ in range(max(1, count // 10)):
        # More than there are slots: some of them wait for one.
        many = [sent(server, f"Question {number}") for number in range(40)]
        for one in many:
            one.close()
        seconds["queue"].append(until_idle(server))
    for phase, found in seconds.items():
        figures.record(f"F28 seconds until idle, {phase}", percentile(found, 1.0), bound=1.0, count=len(found))
    (pid,) = server.runner_pids()
    runner = psutil.Process(pid)
    before = sum(runner.cpu_times()[:2])
    threading.Event().wait(1.0)
    busy = 100 * (sum(runner.cpu_times()[:2]) - before)
    figures.record("F28 processor of the runner afterwards", busy, bound=5.0, count=1, unit="%")
    left = "SELECT count(*) FROM models_app_accesslog WHERE error_code = 'client_left'"
    until(lambda: int(str(query(server, left)[0][0])) >= count, "those who left were recorded")
    status, _ = server.api(
        "POST",
        "/v1/chat/completions",
        {"model": "current", "messages": [{"role": "user", "content": "Hi"}]},
    )
    assert status == 200
