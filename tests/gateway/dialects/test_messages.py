"""Anthropic's Messages API, for its clients and for models of every kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind
from models_app.gateway.dialects.passing import BETAS as BETA_NAMES
from tests import markdown
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.upstream import USAGE, FakeUpstream
from tests.gateway.remotes import CLAUDE, FAST, GPT, MESSAGES, as_new, endpoint, entry, serve_remote
from tests.gateway.wire import CHAT as LOCAL
from tests.gateway.wire import KEY, Served, request

PATH = "/v1/messages"
KINDS = {"native": CLAUDE, "translated": GPT, "local": LOCAL}


@pytest.fixture(scope="module")
def anthropic() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as running:
        yield running


@pytest.fixture(scope="module")
def openai() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="module")
def shared(anthropic: FakeAnthropic, openai: FakeOpenAI, shared_upstream: FakeUpstream) -> Iterator[Served]:
    models = [
        entry(CLAUDE, endpoint(anthropic, ProviderKind.ANTHROPIC, CLAUDE.partition(":")[2])),
        entry(GPT, endpoint(openai, ProviderKind.OPENAI, "gpt-4o")),
    ]
    fallbacks: dict[str, tuple[str, ...]] = {"current": (GPT,)}
    with serve_remote(*models, runner=shared_upstream.path, fallbacks=fallbacks, limits=FAST) as running:
        yield running


@pytest.fixture
def served(shared: Served, anthropic: FakeAnthropic, openai: FakeOpenAI, shared_upstream: FakeUpstream) -> Served:
    for fake in (anthropic, openai, shared_upstream):
        fake.reset()
    return as_new(shared)


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_model_answers(served: Served, model: str) -> None:
    answer = served.post({"model": model, **MESSAGES}, PATH, x_request_id="whole")
    assert answer.status == 200, answer
    value = answer.json
    assert (value["type"], value["role"]) == ("message", "assistant")
    assert value["content"][0]["text"]
    record = served.record_of("whole")
    cached = value["usage"].get("cache_read_input_tokens") or 0
    assert record.prompt_tokens == value["usage"]["input_tokens"] + cached
    assert record.completion_tokens == value["usage"]["output_tokens"]
    assert (record.endpoint, record.model_key) == ("messages", model)


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_model_streams(served: Served, model: str) -> None:
    body = {"model": model, "stream": True, **MESSAGES}
    answer = served.post(body, PATH, x_request_id="stream")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    events = _events(answer.body)
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    assert "".join(_texts(events))
    assert b"[DONE]" not in answer.body
    record = served.record_of("stream")
    assert record.prompt_tokens and record.completion_tokens
    assert record.ttft_ms is not None and not record.aborted


def test_anthropic_is_asked_in_its_own_words(served: Served, anthropic: FakeAnthropic) -> None:
    extra = {"system": [{"type": "text", "text": "Be brief."}], "top_k": 5}
    served.post({"model": CLAUDE, **MESSAGES, **extra}, PATH, anthropic_beta="evil-1")
    sent = anthropic.requests[0]
    assert sent.body == {"model": CLAUDE.partition(":")[2], **MESSAGES, **extra}
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in sent.headers


BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14"
FROM_ANTHROPIC = {"anthropic_beta": f"{BETAS}, evil-1,files-api-2025-04-14", "anthropic_version": "2026-10-21"}
FROM_OPENAI = {"openai_beta": "responses=experimental,evil=1"}
CHAT_PATHS = ("/v1/chat/completions", "/v1/responses")


@pytest.mark.parametrize("path", [PATH, f"{PATH}?beta=true", f"{PATH}/count_tokens"])
def test_betas_of_anthropics_clients_reach_anthropic_only(
    served: Served, anthropic: FakeAnthropic, openai: FakeOpenAI, path: str
) -> None:
    for model in (CLAUDE, GPT, LOCAL):
        served.post({"model": model, **MESSAGES}, path, **FROM_ANTHROPIC, **FROM_OPENAI)
    (sent,) = anthropic.requests
    assert (sent.headers["anthropic-beta"], sent.headers["anthropic-version"]) == (BETAS, "2026-10-21")
    for sent in (*anthropic.requests, *openai.requests):
        assert "openai-beta" not in sent.headers
    assert not any(name.startswith("anthropic-") for sent in openai.requests for name in sent.headers)


@pytest.mark.parametrize("path", CHAT_PATHS)
def test_betas_of_openais_clients_reach_openai_only(
    served: Served, anthropic: FakeAnthropic, openai: FakeOpenAI, path: str
) -> None:
    content = {"messages": MESSAGES["messages"]} if "chat" in path else {"input": "Hello"}
    for model in (CLAUDE, GPT):
        assert served.post({"model": model, **content}, path, **FROM_ANTHROPIC, **FROM_OPENAI).status == 200
    assert openai.requests[0].headers["openai-beta"] == "responses=experimental"
    assert not any(name.startswith("anthropic-") for name in openai.requests[0].headers)
    headers = anthropic.requests[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert not {"openai-beta", "anthropic-beta"} & headers.keys()


def test_the_key_may_come_in_the_header_of_anthropics_clients(served: Served) -> None:
    body = {"model": LOCAL, **MESSAGES}
    assert served.post(body, PATH, authorization="", x_api_key=KEY).status == 200
    wrong = served.post(body, PATH, authorization="", x_api_key="sk-ant-wrong")
    assert (wrong.status, wrong.json["error"]["type"]) == (401, "authentication_error")
    twice = request(body, PATH, authorization="", x_api_key=KEY)
    twice = twice.replace(b"x-api-key", b"x-api-key: other\r\nx-api-key", 1)
    assert served.ask(twice).status == 401


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"model": "nothing", **MESSAGES}, 404, "not_found_error"),
        ({"model": "empty", **MESSAGES}, 503, "overloaded_error"),
        ({"model": LOCAL, "messages": "no", "max_tokens": 5}, 400, "invalid_request_error"),
        ({"model": GPT, "base_url": "x", **MESSAGES}, 400, "invalid_request_error"),
        (b"{", 400, "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_shape(served: Served, body: object, status: int, kind: str) -> None:
    answer = served.post(body, PATH)
    assert answer.status == status
    assert (answer.json["type"], answer.json["error"]["type"]) == ("error", kind)
    assert answer.json["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("model", [CLAUDE, GPT])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("bad_key", 502, "provider_auth_failed"),
        ("html_page", 502, "malformed_answer"),
        ("hang_before_headers", 504, "upstream_timeout"),
        ("status_500", 502, "provider_error"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("redirect", 502, "provider_redirected"),
    ],
)
def test_faults_of_providers_have_anthropics_shape(
    served: Served,
    anthropic: FakeAnthropic,
    openai: FakeOpenAI,
    model: str,
    stream: bool,
    word: str,
    status: int,
    code: str,
) -> None:
    for fake in (anthropic, openai):
        fake.script(word)
    answer = served.post({"model": model, "stream": stream, **MESSAGES}, PATH)
    assert (answer.status, answer.code, answer.json["type"]) == (status, code, "error")


@pytest.mark.parametrize("model", [CLAUDE, GPT])
@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("hang_after_headers", "upstream_timeout"),
        ("cut_mid_stream", "provider_disconnected"),
        ("error_event_mid_stream", "provider_error"),
    ],
)
def test_a_stream_that_breaks_ends_with_anthropics_error_event(
    served: Served,
    anthropic: FakeAnthropic,
    openai: FakeOpenAI,
    model: str,
    word: str,
    code: str,
) -> None:
    for fake in (anthropic, openai):
        fake.script(word)
    answer = served.post({"model": model, "stream": True, **MESSAGES}, PATH, x_request_id="cut")
    if answer.status == 200:
        last = _events(answer.body)[-1]
        assert (last["type"], last["error"]["code"]) == ("error", code)
        assert b"message_stop" not in answer.body
        assert served.record_of("cut").aborted
    else:
        assert answer.code == code


def test_a_runners_refusal_is_told(served: Served, shared_upstream: FakeUpstream) -> None:
    shared_upstream.script("bad_request")
    answer = served.post({"model": LOCAL, **MESSAGES}, PATH)
    assert (answer.status, answer.code) == (400, "context_length_exceeded")
    # Anthropic's clients know an overflow by these words only.
    assert answer.json["error"]["message"] == "prompt is too long: Too long."


@pytest.mark.parametrize("stream", [False, True])
def test_a_runner_that_breaks_is_told(served: Served, shared_upstream: FakeUpstream, stream: bool) -> None:
    shared_upstream.script(*["cut_body" if not stream else "cut_before_events"] * 2)
    answer = served.post({"model": LOCAL, "stream": stream, **MESSAGES}, PATH)
    assert (answer.status, answer.code) == (502, "runner_died")


def test_a_route_falls_back(served: Served, shared_upstream: FakeUpstream) -> None:
    shared_upstream.script("draining", "draining")
    answer = served.post({"model": "current", **MESSAGES}, PATH)
    assert (answer.status, answer.headers["x-noa-model"]) == (200, GPT)


def test_tokens_are_counted_by_anthropic_and_by_runners(
    served: Served, anthropic: FakeAnthropic, shared_upstream: FakeUpstream
) -> None:
    body = {"messages": MESSAGES["messages"], "system": "Be short.", "tools": []}
    counted = served.post({"model": CLAUDE, **body}, f"{PATH}/count_tokens")
    assert counted.status == 200 and counted.json["input_tokens"] > 0
    assert anthropic.requests[0].path == "/v1/messages/count_tokens"
    counted = served.post({"model": LOCAL, **body}, f"{PATH}/count_tokens")
    assert (counted.status, counted.json) == (200, {"input_tokens": USAGE["prompt_tokens"]})
    exchange = shared_upstream.wait_for_exchange()
    assert exchange.path == "/v1/chat/tokens"
    assert [turn["role"] for turn in json.loads(exchange.body)["messages"]] == ["system", "user"]
    refused = served.post({"model": GPT, **body}, f"{PATH}/count_tokens")
    assert (refused.status, refused.code) == (400, "capability_not_supported")


def _events(body: bytes) -> list[dict[str, Any]]:
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines]


def _texts(events: list[dict[str, Any]]) -> list[str]:
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    return [delta.get("text", "") for delta in deltas]


def test_the_documentation_lists_the_betas() -> None:
    table = markdown.rows(markdown.page("docs/clients.md").section("Headers"))
    (betas,) = (row[1] for row in table if row[0] == "`anthropic-beta`")
    assert re.findall(r"`([a-z0-9-]+)`", betas) == list(BETA_NAMES)
