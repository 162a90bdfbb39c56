"""Anthropic's models behind OpenAI's chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes.anthropic_server import FakeAnthropic
from tests.gateway.remotes import CHAT, CLAUDE, FAST, as_new, endpoint, entry, serve_remote
from tests.gateway.wire import Served

MODEL_ID = CLAUDE.partition(":")[2]
ASK = {"model": CLAUDE, **CHAT}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as running:
        yield running


@pytest.fixture(scope="module")
def shared(fake: FakeAnthropic) -> Iterator[Served]:
    model = entry(CLAUDE, endpoint(fake, ProviderKind.ANTHROPIC, MODEL_ID))
    with serve_remote(model, limits=FAST) as running:
        yield running


@pytest.fixture
def served(shared: Served, fake: FakeAnthropic) -> Served:
    fake.reset()
    return as_new(shared)


def test_a_whole_answer_is_translated_and_counted(served: Served, fake: FakeAnthropic) -> None:
    answer = served.post(ASK, x_request_id="whole")
    assert answer.status == 200
    value = answer.json
    assert (value["object"], value["model"]) == ("chat.completion", CLAUDE)
    assert value["choices"][0]["message"]["content"]
    record = served.record_of("whole")
    assert record.prompt_tokens == value["usage"]["prompt_tokens"]
    assert record.cost_usd and record.provider == "anthropic"
    sent = fake.requests[0]
    assert (sent.path, sent.body["model"]) == ("/v1/messages", MODEL_ID)
    assert sent.headers["x-api-key"] == fake.key
    assert "authorization" not in sent.headers


def test_a_stream_is_translated_and_its_usage_hidden(served: Served, fake: FakeAnthropic) -> None:
    answer = served.post({**ASK, "stream": True}, x_request_id="stream")
    chunks = _chunks(answer.body)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text and answer.body.endswith(b"data: [DONE]\n\n")
    assert not any(chunk.get("usage") for chunk in chunks)
    assert served.record_of("stream").completion_tokens


def test_who_asks_for_usage_sees_it(served: Served) -> None:
    body = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
    chunks = _chunks(served.post(body, x_request_id="asked").body)
    assert chunks[-1]["usage"]["prompt_tokens"] == served.record_of("asked").prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("bad_key", 502, "provider_auth_failed"),
        ("redirect", 502, "provider_redirected"),
        ("html_page", 502, "malformed_answer"),
        ("hang_before_headers", 504, "upstream_timeout"),
        ("status_500", 502, "provider_error"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
    ],
)
def test_faults_are_told_in_openais_shape(
    served: Served, fake: FakeAnthropic, word: str, status: int, code: str, stream: bool
) -> None:
    fake.script(word)
    answer = served.post({**ASK, "stream": stream})
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["error"]["details"]["provider"] == "anthropic"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("hang_after_headers", "upstream_timeout"),
        ("cut_mid_stream", "provider_disconnected"),
        ("error_event_mid_stream", "provider_error"),
        ("bad_json", "malformed_answer"),
    ],
)
def test_a_stream_that_breaks_ends_with_an_error_and_no_done(
    served: Served, fake: FakeAnthropic, word: str, code: str
) -> None:
    fake.script(word)
    answer = served.post({**ASK, "stream": True}, x_request_id="broken")
    if answer.status == 200:
        assert f'"code":"{code}"'.encode() in answer.body.split(b"\n\n")[-2]
        assert b"[DONE]" not in answer.body
    else:
        assert (answer.status // 100, answer.code) == (5, code)
    assert served.record_of("broken").error_code == code


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_other_endpoints_are_refused_before_the_provider_is_asked(
    served: Served, fake: FakeAnthropic, path: str
) -> None:
    answer = served.post({"model": CLAUDE, "prompt": "x", "input": "x"}, path)
    assert (answer.status, answer.code) == (400, "capability_not_supported")
    assert not fake.requests


def _chunks(body: bytes) -> list[dict[str, Any]]:
    events = [event for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    return [json.loads(event[6:]) for event in events if b"[DONE]" not in event]
