"""Models of OpenAI-compatible providers: fields that are forwarded unchanged, counts, and fields never forwarded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CHAT, GPT, endpoint, entry, serve_remote
from tests.gateway.wire import Served
from tests.waiting import until

EMBEDDER = "openai:text-embedding-3-small"
INSTRUCT = "openai:gpt-3.5-turbo-instruct"


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Served, FakeOpenAI]]:
    with FakeOpenAI() as fake:
        models = [
            entry(key, endpoint(fake, ProviderKind.OPENAI, key.partition(":")[2]))
            for key in (GPT, EMBEDDER, INSTRUCT, "openai:o4-mini")
        ]
        with serve_remote(*models, routes={"smart": GPT}) as served:
            yield served, fake


@pytest.fixture
def fake(shared: tuple[Served, FakeOpenAI]) -> FakeOpenAI:
    shared[1].reset()
    return shared[1]


@pytest.fixture
def served(shared: tuple[Served, FakeOpenAI], fake: FakeOpenAI) -> Served:
    return shared[0]


def test_a_whole_answer_passes_unchanged(served: Served, fake: FakeOpenAI) -> None:
    answer = served.post({"model": "smart", **CHAT}, x_request_id="whole")
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"]
    assert answer.headers["x-noa-model"] == GPT
    assert fake.requests[0].path == "/v1/chat/completions"
    assert fake.requests[0].body == {"model": "gpt-4o", **CHAT}


def test_tokens_and_cost_are_recorded(served: Served, fake: FakeOpenAI) -> None:
    usage = served.post({"model": GPT, **CHAT}, x_request_id="counted").json["usage"]
    record = served.record_of("counted")
    assert (record.prompt_tokens, record.completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert record.cost_usd == pytest.approx((usage["prompt_tokens"] * 2.5 + usage["completion_tokens"] * 10) / 1e6)
    assert (record.provider, record.model_key, record.attempts) == ("openai", GPT, 1)


def test_reasoning_tokens_are_recorded(served: Served, fake: FakeOpenAI) -> None:
    usage = served.post({"model": "openai:o4-mini", **CHAT}, x_request_id="thought").json["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert served.record_of("thought").reasoning_tokens == reasoning > 0


def test_a_stream_is_counted_though_nobody_asked_and_the_extra_chunk_is_hidden(
    served: Served, fake: FakeOpenAI
) -> None:
    answer = served.post({"model": GPT, "stream": True, **CHAT}, x_request_id="hidden")
    chunks = _chunks(answer.body)
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert fake.requests[0].body["stream_options"] == {"include_usage": True}
    record = served.record_of("hidden")
    assert record.prompt_tokens and record.completion_tokens and record.cost_usd
    assert record.ttft_ms is not None


def test_who_asks_for_usage_sees_it(served: Served, fake: FakeOpenAI) -> None:
    body = {"model": GPT, "stream": True, "stream_options": {"include_usage": True}, **CHAT}
    chunks = _chunks(served.post(body, x_request_id="shown").body)
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["prompt_tokens"]
    assert served.record_of("shown").prompt_tokens == chunks[-1]["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_usage_beside_choices_is_counted_and_passed_on(served: Served, fake: FakeOpenAI, stream: bool) -> None:
    fake.script("usage_in_chunk_with_choices")
    answer = served.post({"model": GPT, "stream": stream, **CHAT}, x_request_id=f"beside-{stream}")
    assert answer.status == 200
    assert served.record_of(f"beside-{stream}").completion_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_without_usage_it_is_estimated(served: Served, fake: FakeOpenAI, stream: bool) -> None:
    served.post({"model": GPT, "stream": stream, **CHAT}, x_request_id=f"known-{stream}")
    fake.script("no_usage")
    served.post({"model": GPT, "stream": stream, **CHAT}, x_request_id=f"unknown-{stream}")
    known, record = served.record_of(f"known-{stream}"), served.record_of(f"unknown-{stream}")
    assert (record.status, record.estimated, known.estimated) == (200, True, False)
    assert (record.prompt_tokens or 0) >= (known.prompt_tokens or 0) > 0
    assert (record.completion_tokens or 0) >= (known.completion_tokens or 0) > 0
    assert (record.cost_usd or 0) > 0


def test_an_unpriced_model_has_no_cost(served: Served, fake: FakeOpenAI) -> None:
    whole = served.source.current
    model = whole.models[GPT]
    assert model.target
    unpriced = replace(model, target=replace(model.target, price=None))
    served.source.current = replace(whole, models={**whole.models, GPT: unpriced})
    served.post({"model": GPT, **CHAT}, x_request_id="unpriced")
    served.source.current = whole
    record = served.record_of("unpriced")
    assert record.prompt_tokens and record.cost_usd is None


def test_embeddings_and_completions_pass_too(served: Served, fake: FakeOpenAI) -> None:
    vectors = served.post({"model": EMBEDDER, "input": ["a", "b"]}, "/v1/embeddings")
    assert [item["object"] for item in vectors.json["data"]] == ["embedding", "embedding"]
    text = served.post({"model": INSTRUCT, "prompt": "Once"}, "/v1/completions")
    assert text.json["choices"][0]["text"]
    assert [request.path for request in fake.requests] == ["/v1/embeddings", "/v1/completions"]


def test_a_completion_is_streamed_and_counted(served: Served, fake: FakeOpenAI) -> None:
    body = {"model": INSTRUCT, "prompt": "Once", "stream": True}
    answer = served.post(body, "/v1/completions", x_request_id="completion")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert served.record_of("completion").completion_tokens


def test_connections_are_kept(served: Served, fake: FakeOpenAI) -> None:
    for stream in (False, True) * 3:
        assert served.post({"model": GPT, "stream": stream, **CHAT}).status == 200
    idle = served.gateway._upstream._idle
    # It is kept once the answer has been read to its end, which the client can have before.
    until(lambda: sum(len(connections) for connections in idle.values()) == 1, "one connection is kept")


@pytest.mark.parametrize("field", ["api_base", "api_key", "base_url", "extra_body", "extra_headers", "extra_query"])
def test_fields_that_would_steer_are_refused(served: Served, fake: FakeOpenAI, field: str) -> None:
    answer = served.post({"model": GPT, field: None, **CHAT})
    assert (answer.status, answer.code) == (400, "unsupported_parameter")
    assert answer.json["error"]["param"] == field
    assert not fake.requests


def test_no_header_of_the_client_reaches_the_provider(served: Served, fake: FakeOpenAI) -> None:
    served.post(
        {"model": GPT, **CHAT},
        x_api_base="http://evil.example",
        cookie="session=1",
        openai_organization="org-evil",
        x_forwarded_for="10.0.0.1",
        transfer_encoding="",
        expect="100-continue",
        x_request_id="only-ours",
    )
    sent = fake.requests[0].headers
    assert sent.keys() == {
        "host",
        "authorization",
        "content-type",
        "accept",
        "accept-encoding",
        "user-agent",
        "content-length",
    }
    assert sent["authorization"] == f"Bearer {fake.key}"
    assert sent["host"] == f"127.0.0.1:{fake.port}"


def test_a_field_that_is_given_twice_reaches_the_provider_once(served: Served, fake: FakeOpenAI) -> None:
    raw = json.dumps({"model": "nothing", **CHAT}).encode()[:-1] + b', "model": "smart"}'
    assert served.post(raw).status == 200
    assert fake.requests[0].raw.count(b'"model"') == 1
    assert fake.requests[0].body["model"] == "gpt-4o"


@pytest.mark.parametrize(
    "name",
    [
        "openai:gpt-4o\r\nX-Evil: 1",
        "openai:gpt-4o HTTP/1.1\r\n\r\nGET /evil",
        "openai:../models",
        "OPENAI:gpt-4o",
    ],
)
def test_a_name_cannot_carry_anything_else(served: Served, fake: FakeOpenAI, name: str) -> None:
    answer = served.post({"model": name, **CHAT})
    assert (answer.status, answer.code) == (404, "model_not_found")
    assert not fake.requests


def test_deep_json_is_refused_before_the_provider_sees_it(served: Served, fake: FakeOpenAI) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    answer = served.post({"model": GPT, "metadata": deep, **CHAT})
    assert (answer.status, answer.code) == (400, "invalid_json")
    assert not fake.requests


def _chunks(body: bytes) -> list[dict[str, Any]]:
    events = [event for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    return [json.loads(event[6:]) for event in events if b"[DONE]" not in event]
