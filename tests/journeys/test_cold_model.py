"""Requests to a cold model: a slower answer, from no other model."""

from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.journeys.server import NoaServer

pytestmark = [pytest.mark.journey, pytest.mark.llama]

COLD = "llama.cpp:noa-demo-tide"
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def client(server: NoaServer) -> openai.OpenAI:
    """The official client; the model is not loaded."""
    status, answer = server.api("POST", "/api/v1/models/unload?wait=60", {"key": COLD})
    assert status == 200 or answer["error"]["code"] == "model_not_loaded", answer
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.api_key, max_retries=0)


@pytest.fixture(autouse=True)
def current_is_the_other_one(server: NoaServer) -> None:
    _, current = server.api("GET", "/api/v1/models/current")
    if current["model"]["key"] == COLD:
        body = {"key": "llama.cpp:noa-demo-ember"}
        assert server.api("POST", "/api/v1/models/switch?wait=60", body)[0] == 200


def test_the_first_request_loads_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=COLD, messages=HELLO, temperature=0, max_tokens=30)
    assert "tide" in (answer.choices[0].message.content or "").lower()
    assert answer.model == COLD


def test_so_does_a_stream(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model=COLD, messages=HELLO, temperature=0, max_tokens=30, stream=True)
    assert "tide" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks).lower()


def test_who_will_not_wait_is_told_when_to_come_back(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model=COLD, messages=HELLO, extra_headers={"X-NOA-Wait": "0"})
    assert refused.value.code == "model_not_loaded"
    assert int(refused.value.response.headers["retry-after"]) > 0


def test_a_key_that_may_load_nothing_is_refused(server: NoaServer, client: openai.OpenAI) -> None:
    body = {"name": "frugal", "scopes": ["infer"], "load_on_demand": False}
    status, made = server.api("POST", "/api/v1/api-keys", body)
    assert status == 201
    frugal = client.with_options(api_key=made["key"])
    with pytest.raises(openai.InternalServerError) as refused:
        frugal.chat.completions.create(model=COLD, messages=HELLO)
    assert refused.value.code == "model_not_loaded"
    client.chat.completions.create(model=COLD, messages=HELLO, max_tokens=4)
    assert frugal.chat.completions.create(model=COLD, messages=HELLO, max_tokens=4).choices
