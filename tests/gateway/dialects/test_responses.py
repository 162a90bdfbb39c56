"""OpenAI's Responses API, for models of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.upstream import FakeUpstream
from tests.gateway.remotes import CLAUDE, FAST, GPT, as_new, endpoint, entry, serve_remote
from tests.gateway.wire import CHAT as LOCAL
from tests.gateway.wire import Served

PATH = "/v1/responses"
KINDS = {"openai": GPT, "anthropic": CLAUDE, "local": LOCAL}
ASK = {"input": "Say hello.", "max_output_tokens": 50}


@pytest.fixture(scope="module")
def fakes() -> Iterator[tuple[FakeOpenAI, FakeAnthropic]]:
    with FakeOpenAI() as openai, FakeAnthropic() as anthropic:
        yield openai, anthropic


@pytest.fixture(scope="module")
def shared(fakes: tuple[FakeOpenAI, FakeAnthropic], shared_upstream: FakeUpstream) -> Iterator[Served]:
    openai, anthropic = fakes
    models = [
        entry(GPT, endpoint(openai, ProviderKind.OPENAI, "gpt-4o")),
        entry(CLAUDE, endpoint(anthropic, ProviderKind.ANTHROPIC, CLAUDE.partition(":")[2])),
    ]
    with serve_remote(*models, runner=shared_upstream.path, limits=FAST) as running:
        yield running


@pytest.fixture
def served(shared: Served, fakes: tuple[FakeOpenAI, FakeAnthropic], shared_upstream: FakeUpstream) -> Served:
    for fake in (*fakes, shared_upstream):
        fake.reset()
    return as_new(shared)


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_model_answers(served: Served, model: str) -> None:
    answer = served.post({"model": model, **ASK}, PATH, x_request_id="whole")
    assert answer.status == 200, answer
    assert (answer.json["object"], answer.json["status"]) == ("response", "completed")
    assert answer.json["output"][0]["content"][0]["text"]
    record = served.record_of("whole")
    assert record.prompt_tokens == answer.json["usage"]["input_tokens"]
    assert record.endpoint == "responses"


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_model_streams(served: Served, model: str) -> None:
    answer = served.post({"model": model, "stream": True, **ASK}, PATH, x_request_id="stream")
    events = _events(answer.body)
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert any(event["type"] == "response.output_text.delta" for event in events)
    record = served.record_of("stream")
    assert record.prompt_tokens and record.completion_tokens and not record.aborted


@pytest.mark.parametrize("model", [GPT, CLAUDE])
def test_a_stream_that_breaks_ends_with_an_event_that_says_so(
    served: Served, fakes: tuple[FakeOpenAI, FakeAnthropic], model: str
) -> None:
    for fake in fakes:
        fake.script("hang_after_headers")
    answer = served.post({"model": model, "stream": True, **ASK}, PATH)
    if answer.status == 200:
        last = _events(answer.body)[-1]
        assert last["type"] in ("error", "response.failed")
        assert b"response.completed" not in answer.body
    else:
        assert answer.code == "upstream_timeout"


def test_what_would_need_a_stored_response_is_refused(served: Served) -> None:
    answer = served.post({"model": GPT, "previous_response_id": "resp_1", **ASK}, PATH)
    assert (answer.status, answer.code) == (400, "unsupported_parameter")
    assert answer.json["error"]["param"] == "previous_response_id"


def _events(body: bytes) -> list[dict[str, Any]]:
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines]
