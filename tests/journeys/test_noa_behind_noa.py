"""A real counterpart: one NOA is a provider of another one, and serves it with a real model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(240)]

SAY_HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 8}


@pytest.fixture
def front(own_server: Callable[..., NoaServer], server: NoaServer) -> NoaServer:
    """A server without own models that has `server` as the provider `behind`."""
    behind = {
        "slug": "behind",
        "kind": "openai",
        "base_url": f"{server.url}/v1",
        "api_key": server.api_key,
        "allow_private_addresses": True,
    }
    variables = {"NOA_PROVIDERS": json.dumps([behind]), "NOA_DEMO_MODELS": "false"}
    return own_server(environment=variables).start()


def ask(front: NoaServer, model: str) -> dict[str, object]:
    status, answer = front.api("POST", "/v1/chat/completions", SAY_HELLO | {"model": model})
    assert status == 200, answer
    found: dict[str, object] = answer
    return found


def test_a_model_of_another_noa_is_found_loaded_asked_and_loaded_again(front: NoaServer, server: NoaServer) -> None:
    _, current = server.api("GET", "/api/v1/models/current")
    key = f"behind:{current['model']['key']}"
    status, job = front.api("POST", "/api/v1/models/discover?wait=60", {})
    assert status == 200, job
    _, registered = front.api("GET", "/api/v1/models/behind")
    assert {"behind:current", key} <= {model["key"] for model in registered["models"]}

    status, job = front.api("POST", "/api/v1/models/switch?wait=60", {"key": key})
    assert status == 200, job
    assert ask(front, "current")["choices"]
    usage = ask(front, key)["usage"]
    assert isinstance(usage, dict)
    assert usage["completion_tokens"] == 8

    front.kill()
    front.start()
    until(lambda: front.api("GET", "/api/v1/models/loaded")[1]["count"] == 1, "it was loaded again")
    assert ask(front, "current")["choices"]
