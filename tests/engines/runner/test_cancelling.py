"""A client's disconnect ends its work at once, in any stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.runner import program
from tests.engines.runner.program import SOON, Program

pytestmark = pytest.mark.llama

COMPLETIONS = "/v1/completions"
ENDLESS: dict[str, Any] = {"prompt": "Hi", "max_tokens": 30_000, "ignore_eos": True, "stream": True}
PREFILL: dict[str, Any] = {"prompt": [5] * 32_000, "max_tokens": 1}


@pytest.fixture(scope="module")
def busy(busy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A runner with one slot."""
    folder = tmp_path_factory.mktemp("run")
    running = program.launch(folder, busy_model, slots=1, n_ctx=32_768)
    yield running.wait_ready()
    running.end()


def cancelled(runner: Program) -> int:
    return int(runner.health()["counters"]["cancelled"])


def test_while_it_decodes(busy: Program) -> None:
    before = cancelled(busy)
    with busy.start(COMPLETIONS, **ENDLESS) as client:
        client.recv(4096)
        assert busy.health()["slots"]["busy"] == 1
    busy.until_health("it stops", SOON, busy=0, in_flight=0, cancelled=before + 1)


def test_while_it_decodes_for_an_answer_that_is_not_streamed(busy: Program) -> None:
    before = cancelled(busy)
    with busy.start(COMPLETIONS, **(ENDLESS | {"stream": False})):
        busy.until_health("it decodes", busy=1)
    busy.until_health("it stops", SOON, busy=0, in_flight=0, cancelled=before + 1)


def test_while_it_reads_the_prompt(busy: Program) -> None:
    before = cancelled(busy)
    with busy.start(COMPLETIONS, **PREFILL):
        busy.until_health("it reads", busy=1)
    busy.until_health("it stops", SOON, busy=0, in_flight=0, cancelled=before + 1)


def test_while_it_waits_in_the_queue(busy: Program) -> None:
    before = cancelled(busy)
    with busy.start(COMPLETIONS, **ENDLESS) as running:
        running.recv(4096)
        with busy.start(COMPLETIONS, **ENDLESS):
            busy.until_health("the second waits", queued=1, in_flight=2)
        busy.until_health("it leaves the queue", SOON, queued=0, cancelled=before + 1, busy=1)
    busy.until_health("both have stopped", SOON, busy=0, in_flight=0)


def test_all_choices_of_one_request(busy: Program) -> None:
    before = cancelled(busy)
    with busy.start(COMPLETIONS, **(ENDLESS | {"n": 4})) as client:
        client.recv(4096)
        busy.until_health("the others wait", queued=3)
    busy.until_health("all stop", SOON, busy=0, queued=0, cancelled=before + 4)


def test_all_inputs_of_an_embedding(busy: Program) -> None:
    before = busy.health()["counters"]["requests"]
    with busy.start("/v1/embeddings", input=[[5] * 30_000] * 100):
        busy.until_health("it reads", busy=1)
    busy.until_health("it stops", SOON, busy=0, queued=0, in_flight=0)
    # The rest of the list was not started.
    assert busy.health()["counters"]["requests"] < before + 10


def test_afterwards_it_works(busy: Program) -> None:
    status, answer = busy.post(COMPLETIONS, prompt="Hi", max_tokens=3)
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 3
