"""Many requests, a third of them cancelled, leave nothing behind. benchmarks/soak.py does the same for hours."""

from __future__ import annotations

import asyncio
import os

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CHAT, GPT, endpoint, entry, serve_remote
from tests.gateway.wire import Served, request, wait_until

REQUESTS = 300
# The model whose streams are cancelled, and its path.
CUT = "openai:gpt-3.5-turbo-instruct"
CUT_PATH = "/v1/completions"


def test_nothing_is_left_of_requests_that_ended_or_were_cancelled(fake_openai: FakeOpenAI) -> None:
    models = [entry(key, endpoint(fake_openai, ProviderKind.OPENAI, key.partition(":")[2])) for key in (GPT, CUT)]
    fake_openai.script(*["hang_after_headers"] * REQUESTS, path=CUT_PATH)
    with serve_remote(*models) as served:
        _ask(served, 3)
        before = len(os.listdir("/proc/self/fd"))
        _ask(served, REQUESTS)
        wait_until(lambda: not served.gateway._watches._watches, "all requests to end")
        wait_until(lambda: _tasks(served) <= 3, "the tasks of the requests to end")
        idle = served.gateway._upstream._idle
        assert sum(len(connections) for connections in idle.values()) <= 2
        # Both ends of a connection are in this process.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 4, "the descriptors to be closed")
        records = served.records()
    assert len(records) == REQUESTS + 3
    assert sum(record.aborted for record in records) == (REQUESTS + 3) // 3


def _ask(served: Served, count: int) -> None:
    for number in range(count):
        kind = number % 3
        with served.wire() as wire:
            if kind == 2:
                body = {"model": CUT, "stream": True, "prompt": "Say hello."}
                wire.send(request(body, CUT_PATH)).until(b"data: ")
            else:
                wire.send(request({"model": GPT, "stream": kind == 1, **CHAT}))
                assert wire.answer().status == 200


def _tasks(served: Served) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), served.loop).result(10)
