"""State is persistent: after `kill -9` the same models are loaded and `current` has the same target."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import psutil
import pytest

from tests.journeys.server import NoaServer
from tests.waiting import until

# `RESTART_ROUNDS=20` for more of them.
ROUNDS = int(os.environ.get("RESTART_ROUNDS", "3"))
MODELS = ("llama.cpp:noa-demo-ember", "llama.cpp:noa-demo-tide")

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(120 + 30 * ROUNDS)]

Own = Callable[..., NoaServer]


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_9(server: NoaServer) -> None:
    """The server is killed, and its runners end with it."""
    runners = server.runner_pids()
    assert len(runners) == len(MODELS)
    server.kill()
    until(lambda: not any(alive(pid) for pid in runners), "the runners had gone", 10)


def state_of(server: NoaServer) -> tuple[list[str], str]:
    """The loaded models, and the target of `current`."""
    _, answer = server.api("GET", "/api/v1/models/loaded")
    ready = [one["key"] for one in answer["instances"] if one["state"] == "ready"]
    return sorted(ready), answer["current_model"]


def wait_for_models(server: NoaServer) -> None:
    until(lambda: len(state_of(server)[0]) == len(MODELS), "both models were loaded again")


def answering(server: NoaServer) -> str:
    body = {"model": "current", "messages": [{"role": "user", "content": "Hello!"}]}
    status, answer = server.api("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    return str(answer["model"])


def test_after_kill_9_everything_is_as_it_was(own_server: Own) -> None:
    server = own_server().start()
    key = server.api_key
    for model in MODELS:
        server.api("POST", "/api/v1/models/load?wait=60", {"key": model})
    chance = random.Random(0)
    current = server.api("GET", "/api/v1/models/current")[1]["model"]["key"]
    for _ in range(ROUNDS):
        if chance.random() < 0.7:
            current = next(model for model in MODELS if model != current)
            status, answer = server.api(
                "POST", "/api/v1/models/switch?wait=60", {"key": current, "keep_previous": True}
            )
            assert status == 200, answer
        kill_9(server)
        server = own_server(data_dir=server.data_dir, api_key=key).start()
        wait_for_models(server)
        assert state_of(server) == (sorted(MODELS), current)
        assert answering(server) == current
