"""A client that gives up its request, by closing its sending half, still receives the exact usage so far."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.runner import program
from tests.engines.runner.program import Program

pytestmark = pytest.mark.llama

PROMPT = [5] * 40
ENDLESS: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 30_000, "ignore_eos": True}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30_000, "ignore_eos": True}
USAGE = re.compile(rb'"usage":(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


@pytest.fixture(scope="module")
def busy(busy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A runner with one slot."""
    running = program.launch(tmp_path_factory.mktemp("run"), busy_model, slots=1, n_ctx=32_768)
    yield running.wait_ready()
    running.end()


def rest(client: socket.socket) -> bytes:
    """Gives up the request, and reads until the runner closes."""
    client.shutdown(socket.SHUT_WR)
    parts = []
    while data := client.recv(65536):
        parts.append(data)
    return b"".join(parts)


def usage(answer: bytes) -> dict[str, int]:
    found = USAGE.findall(answer)
    assert found, answer[-500:]
    counts: dict[str, int] = json.loads(found[-1])
    return counts


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", ENDLESS), ("/v1/chat/completions", CHAT)], ids=["completions", "chat"]
)
def test_of_a_stream_it_is_what_was_generated(busy: Program, path: str, body: dict[str, Any]) -> None:
    with busy.start(path, **body, stream=True) as client:
        answer = b""
        while answer.count(b"data: ") < 20:
            answer += client.recv(65536)
        answer += rest(client)
    counts = usage(answer)
    assert counts["prompt_tokens"] >= (40 if path == "/v1/completions" else 1)
    # Some tokens have no text of their own.
    assert answer.count(b"data: ") - 1 <= counts["completion_tokens"] < 30_000
    assert not answer.rstrip().endswith(b"[DONE]")
    busy.until_health("it stops", busy=0, in_flight=0)


def test_of_a_whole_answer_it_is_all_that_arrives(busy: Program) -> None:
    with busy.start("/v1/completions", **ENDLESS) as client:
        busy.until_health("it decodes", busy=1)
        answer = rest(client)
    counts = usage(answer)
    assert counts["prompt_tokens"] == 40
    assert 0 <= counts["completion_tokens"] < 30_000
    assert b'"choices"' not in answer


def test_of_several_answers_the_prompt_counts_once(busy: Program) -> None:
    with busy.start("/v1/completions", **ENDLESS, n=3) as client:
        busy.until_health("the others wait", queued=2)
        counts = usage(rest(client))
    assert counts["prompt_tokens"] == 40
    busy.until_health("all have stopped", busy=0, queued=0, in_flight=0)


def test_of_a_request_that_waits_in_the_queue_it_is_its_prompt(busy: Program) -> None:
    with busy.start("/v1/completions", **ENDLESS, stream=True) as running:
        running.recv(4096)
        with busy.start("/v1/completions", **ENDLESS, stream=True) as client:
            busy.until_health("the second waits", queued=1)
            counts = usage(rest(client))
        assert (counts["prompt_tokens"], counts["completion_tokens"]) == (40, 0)
    busy.until_health("both have stopped", busy=0, queued=0, in_flight=0)


def test_of_an_embedding_it_is_all_its_inputs(busy: Program) -> None:
    with busy.start("/v1/embeddings", input=[[5] * 20_000] * 20) as client:
        busy.until_health("it reads", busy=1)
        counts = usage(rest(client))
    assert counts["prompt_tokens"] == 400_000
    busy.until_health("it stops", busy=0, queued=0, in_flight=0)
