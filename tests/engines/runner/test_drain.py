"""A real runner refuses to drain while it is in use, atomically with the arrival of requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models_app.engines import control
from tests.engines.runner.conftest import Launch
from tests.engines.runner.program import WAIT, Program

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]
# Twice what a socket's buffers hold: it is in flight until its client has read it.
LONG: dict[str, Any] = {"max_tokens": 300, "ignore_eos": True, "stream": True}
LONG_CHAT: dict[str, Any] = {"messages": MESSAGES, **LONG, "logprobs": True, "top_logprobs": 20}
# Of a busy machine, more threads are slower.
OPTIONS: dict[str, Any] = {"n_ctx": 32_768, "n_threads": 1}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, {"messages": MESSAGES, "max_tokens": 1500}),
    "chat stream": (CHAT, LONG_CHAT),
    "completion": ("/v1/completions", {"prompt": "Hi", "max_tokens": 1500}),
    "completion stream": ("/v1/completions", {"prompt": "Hi", **LONG}),
    "embedding": ("/v1/embeddings", {"input": ["word " * 3000] * 8}),
    "several answers": (CHAT, {"messages": MESSAGES, "n": 3, "max_tokens": 1500}),
}


@contextmanager
def in_flight(runner: Program, path: str, **fields: Any) -> Iterator[socket.socket]:
    before = runner.health()["in_flight"]
    with runner.start(path, **fields) as client:
        runner.until_health("the request is in flight", in_flight=before + 1)
        yield client


def read_all(client: socket.socket, until: bytes) -> bytes:
    data = b""
    while until not in data[-200:]:
        part = client.recv(65_536)
        assert part, f"closed after {data[-200:]!r}"
        data += part
    return data


@pytest.mark.parametrize("name", REQUESTS)
def test_a_runner_in_use_refuses_to_drain_and_serves_on(busy_model: Path, launch: Launch, name: str) -> None:
    path, fields = REQUESTS[name]
    runner = launch(busy_model, **OPTIONS).wait_ready()
    with in_flight(runner, path, **fields):
        assert runner.ask("POST", "/drain?if_idle=1") == (200, {"draining": False, "in_flight": 1})
        assert not control.drain_if_idle(runner.spec.socket)
        assert runner.health()["state"] == "ready"
        # It accepts new requests, as if nothing had happened.
        status, answer = runner.chat(max_tokens=1)
        assert status == 200, answer
    runner.until_health("the client's request ended", in_flight=0)
    assert control.drain_if_idle(runner.spec.socket)
    assert runner.health()["state"] == "draining"


def test_a_stream_that_was_asked_for_its_runner_is_whole(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, **OPTIONS).wait_ready()
    with in_flight(runner, CHAT, **LONG_CHAT) as client:
        for _ in range(20):
            assert not control.drain_if_idle(runner.spec.socket)
        data = read_all(client, b"data: [DONE]\n\n")
    assert data.count(b'"finish_reason":"length"') == 1
    assert b'"error"' not in data
    runner.until_health("the stream ended", in_flight=0)
    assert control.drain_if_idle(runner.spec.socket)


def test_a_request_that_waits_for_a_slot_keeps_its_runner(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, slots=1, **OPTIONS).wait_ready()
    with (
        in_flight(runner, CHAT, **LONG_CHAT) as first,
        in_flight(runner, CHAT, **LONG_CHAT) as queued,
    ):
        runner.until_health("one waits", queued=1)
        assert runner.ask("POST", "/drain?if_idle=1") == (200, {"draining": False, "in_flight": 2})
        first.close()
        runner.until_health("the other one is served", in_flight=1, queued=0)
        assert not control.drain_if_idle(runner.spec.socket)
        read_all(queued, b"data: [DONE]\n\n")
    runner.until_health("both ended", in_flight=0)
    assert control.drain_if_idle(runner.spec.socket)


def test_a_request_that_has_not_arrived_whole_is_no_use_and_is_refused(tiny_model: Path, launch: Launch) -> None:
    """Half a request can be held for ever: it does not keep a model in memory, and can be sent to another runner."""
    runner = launch(tiny_model).wait_ready()
    body = json.dumps({"model": "m", "messages": MESSAGES, "max_tokens": 1}).encode()
    with runner.connect() as client:
        client.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: runner\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:9]
        )
        assert runner.health()["in_flight"] == 0
        assert control.drain_if_idle(runner.spec.socket)
        client.sendall(body[9:])
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 503 ") and b'"draining"' in answer


def test_a_draining_runner_lets_its_streams_end(busy_model: Path, launch: Launch) -> None:
    runner = launch(busy_model, **OPTIONS).wait_ready()
    left: list[int] = []
    with in_flight(runner, CHAT, **LONG_CHAT) as client:
        waiter = threading.Thread(target=lambda: left.append(control.drain(runner.spec.socket, wait=WAIT)))
        waiter.start()
        runner.until_health("it drains", state="draining")
        for path, fields in REQUESTS.values():
            status, answer = runner.post(path, **fields)
            assert (status, answer["error"]["code"], answer["error"]["retryable"]) == (503, "draining", True)
        data = read_all(client, b"data: [DONE]\n\n")
    waiter.join(WAIT)
    assert left == [0]
    assert b'"error"' not in data


def test_no_request_slips_between_the_check_and_the_drain(tiny_model: Path, launch: Launch) -> None:
    """Whatever arrives around the moment of the drain is answered whole, or refused before any work."""
    runner = launch(tiny_model, slots=4).wait_ready()
    refused: list[dict[str, Any]] = []

    def requests() -> list[dict[str, Any]]:
        answered = []
        for _ in range(200):
            status, answer = runner.chat(max_tokens=2)
            if status == 503:
                refused.append(answer)
                break
            answered.append(answer)
        return answered

    with ThreadPoolExecutor(2) as pool:
        clients = [pool.submit(requests) for _ in range(2)]
        # It succeeds in a moment between two requests.
        while True:
            early = list(refused)
            if control.drain_if_idle(runner.spec.socket):
                break
            assert not early, "a request was refused by a runner that did not drain"
        assert runner.health()["in_flight"] == 0
        answers = [answer for one in clients for answer in one.result(WAIT)]
    assert {answer["choices"][0]["finish_reason"] for answer in answers} <= {"stop", "length"}
    assert {answer["error"]["code"] for answer in refused} <= {"draining"}
    assert runner.health()["counters"]["completion_tokens"] >= len(answers)
