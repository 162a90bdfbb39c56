"""A whole server with 256 file descriptors, and more connections than that: everything works on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journeys.rows import query
from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

DESCRIPTORS = 256
CONNECTIONS = 300
CHAT = {"model": "current", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4}


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two web processes"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NoaServer]:
    limited = ["bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "bash"]
    data = tmp_path_factory.mktemp("few") / "data"
    running = NoaServer(data, prefix=limited, arguments=["--workers", str(request.param)]).start()
    yield running
    running.stop()


HEADS = {
    "nothing": b"",
    "half a head": b"POST /admin/login/ HTTP/1.1\r\nhost: 127.0",
    "half a body": b"POST /admin/login/ HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 60000\r\n\r\nx=",
    "an answer to a wrong key": b"GET /api/v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer x\r\n\r\n",
    "a page": b"GET /admin/login/ HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS)
def test_idle_connections_take_nothing_from_the_rest(server: NoaServer, head: str) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
            client.sendall(HEADS[head])
        # A busy machine can need more than the two seconds that a check has.
        until(lambda: server.api("GET", "/readyz")[0] == 200, "the server was ready", 30)
        for _ in range(5):
            status, models = server.api("GET", "/api/v1/models")
            assert status == 200, models
            status, answer = server.api("POST", "/v1/chat/completions", CHAT)
            assert status == 200, answer
        for action in ("load", "unload"):
            status, job = server.api("POST", f"/api/v1/models/{action}?wait=60", {"key": "llama.cpp:noa-demo-tide"})
            assert (status, job["state"]) == (200, "succeeded"), job
    assert "unable to open database file" not in server.text
    assert "Too many open files" not in server.text
    assert query(server, "SELECT count(*) FROM models_app_event WHERE name = 'node-lost'") == [(0,)]


def test_the_soft_limit_is_raised_and_most_descriptors_stay_free(server: NoaServer) -> None:
    pid = server.process.pid
    limits = Path(f"/proc/{pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(DESCRIPTORS)] * 2
    assert len(os.listdir(f"/proc/{pid}/fd")) < DESCRIPTORS - 64
