"""Clients that leave a real runner's answer: the runner states its exact usage, so that nothing is estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.runner import program
from tests.engines.runner.program import Program
from tests.fakes.gguf_files import write_random_gguf
from tests.gateway.wire import CHAT, Served, request, serve

pytestmark = pytest.mark.llama

TEXT = "word " * 50
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 20_000, "ignore_eos": True},
    "completions": {"prompt": TEXT, "max_tokens": 20_000, "ignore_eos": True},
    "messages": {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 20_000},
    "responses": {"input": TEXT, "max_output_tokens": 20_000},
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Slow enough that no answer ends by itself."""
    folder = tmp_path_factory.mktemp("run")
    model = write_random_gguf(folder / "busy.gguf", megabytes=40, context=32_768)
    running = program.launch(folder, model, slots=2, n_ctx=32_768)
    yield running.wait_ready()
    running.end()


@pytest.fixture(scope="module")
def served(runner: Program) -> Iterator[Served]:
    with serve(runner.spec.socket) as running:
        yield running


def counted(runner: Program) -> tuple[int, int]:
    counters = runner.health()["counters"]
    return counters["prompt_tokens"], counters["completion_tokens"]


@pytest.mark.parametrize("endpoint", BODIES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_record_has_what_the_runner_has_computed(
    served: Served, runner: Program, endpoint: str, stream: bool
) -> None:
    runner.until_health("it is idle", busy=0, in_flight=0)
    before = counted(runner)
    rid = f"{endpoint.replace('/', '-')}-{stream}"
    body = {"model": CHAT, "stream": stream, **BODIES[endpoint]}
    with served.wire() as wire:
        wire.send(request(body, f"/v1/{endpoint}", x_request_id=rid))
        runner.until_health("it decodes", busy=1)
        if stream:
            wire.until(b"data: ")
    record = served.record_of(rid)
    runner.until_health("it stops", busy=0, in_flight=0)
    after = counted(runner)
    assert (record.status, record.aborted, record.estimated) == (499, True, False)
    assert (record.prompt_tokens, record.completion_tokens) == (after[0] - before[0], after[1] - before[1])
    assert (record.prompt_tokens or 0) > 50
