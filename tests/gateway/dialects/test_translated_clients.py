"""Conversations of the official clients with models of another dialect, over several turns and through faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from models_app.domain.provider_kinds import ProviderKind
from tests.fakes import answers
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.gateway.remotes import CLAUDE, FAST, GPT, endpoint, entry, serve_remote
from tests.gateway.wire import KEY, Served

HELLO: list[Any] = [{"role": "user", "content": "Use weather please"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


@pytest.fixture
def gpt(fake_openai: FakeOpenAI) -> FakeOpenAI:
    return fake_openai


@pytest.fixture
def claude(fake_anthropic: FakeAnthropic) -> FakeAnthropic:
    return fake_anthropic


@pytest.fixture
def served(gpt: FakeOpenAI, claude: FakeAnthropic) -> Iterator[Served]:
    """One for each test: a failed provider's circuit stays open for a while."""
    models = (
        entry(GPT, endpoint(gpt, ProviderKind.OPENAI, GPT.partition(":")[2])),
        entry(CLAUDE, endpoint(claude, ProviderKind.ANTHROPIC, CLAUDE.partition(":")[2])),
    )
    with serve_remote(*models, limits=FAST) as running:
        yield running


@pytest.fixture
def openais(served: Served) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{served.port}/v1"
    with openai.OpenAI(api_key=KEY, base_url=url, max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def anthropics(served: Served) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{served.port}"
    with anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0, timeout=10) as client:
        yield client


def test_thinking_goes_on_after_a_call(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    """The fake refuses a turn whose thinking block is missing, or has a wrong signature."""
    ask: Any = openais.chat.completions.create
    options = {"model": CLAUDE, "tools": TOOLS, "reasoning_effort": "low"}
    message = ask(messages=HELLO, **options).choices[0].message
    assert message.reasoning_content == answers.THOUGHT
    call = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    turns = [*HELLO, message.to_dict(), result]
    last = ask(messages=turns, **options).choices[0].message
    assert last.content == "The tool said: sunny"
    sent = claude.requests[1].body
    assert [block["type"] for block in sent["messages"][1]["content"]] == [
        "thinking",
        "text",
        "tool_use",
    ]
    assert sent["thinking"]["type"] == "enabled"


def test_a_client_that_forgets_the_thinking_is_answered_without(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    answer = openais.chat.completions.create(model=CLAUDE, messages=turns, tools=TOOLS, reasoning_effort="high")
    assert answer.choices[0].message.content == "The tool said: sunny"


def test_a_streamed_call_and_its_thinking(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    with openais.chat.completions.stream(model=CLAUDE, messages=HELLO, tools=TOOLS, reasoning_effort="low") as stream:
        message: Any = stream.get_final_completion().choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "text"}
    assert message.content == "Let me see."
    assert message.reasoning_content == answers.THOUGHT


def test_the_prompt_cache_is_marked_and_counted(openais: openai.OpenAI, claude: FakeAnthropic, served: Served) -> None:
    part = {"type": "text", "text": "Be kind always", "cache_control": {"type": "ephemeral"}}
    turns: list[Any] = [{"role": "system", "content": [part]}, *HELLO]
    for request_id, cached, written in (("first", 0, 3), ("second", 3, 0)):
        usage = openais.chat.completions.create(
            model=CLAUDE, messages=turns, extra_headers={"X-Request-ID": f"cache-{request_id}"}
        ).usage
        assert usage is not None and usage.prompt_tokens == 6
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == cached
        record = served.record_of(f"cache-{request_id}")
        assert (record.cached_tokens, record.cache_write_tokens) == (cached, written)


def test_a_schema_of_openais_client_is_answered(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    for strict in (True, False):
        described = {"name": "place", "schema": SCHEMA, "strict": strict}
        shape: Any = {"type": "json_schema", "json_schema": described}
        whole = openais.chat.completions.create(model=CLAUDE, messages=HELLO, response_format=shape)
        assert json.loads(whole.choices[0].message.content or "") == {"city": "text"}
        chunks = openais.chat.completions.create(model=CLAUDE, messages=HELLO, response_format=shape, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert json.loads(text) == {"city": "text"}


def test_a_call_and_its_result_of_anthropics_client(anthropics: anthropic.Anthropic, gpt: FakeOpenAI) -> None:
    tools: list[Any] = [{"name": "weather", "input_schema": SCHEMA}]
    with anthropics.messages.stream(model=GPT, max_tokens=99, messages=HELLO, tools=tools) as stream:
        asked = stream.get_final_message()
    assert asked.stop_reason == "tool_use"
    call: Any = asked.content[-1]
    assert call.input == {"city": "text"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": [block.to_dict() for block in asked.content]},
        {"role": "user", "content": [result]},
    ]
    last = anthropics.messages.create(model=GPT, max_tokens=99, messages=turns, tools=tools)
    assert last.content[0].text == "The tool said: sunny"  # type: ignore[union-attr]


def test_a_call_and_its_result_of_the_responses_client(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    with openais.responses.stream(model=CLAUDE, input=HELLO, tools=tools, reasoning={"effort": "low"}) as stream:
        asked = stream.get_final_response()
    assert [item.type for item in asked.output] == ["reasoning", "message", "function_call"]
    call: Any = asked.output[-1]
    assert json.loads(call.arguments) == {"city": "text"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turns: Any = [*HELLO, *[item.to_dict() for item in asked.output], result]
    last = openais.responses.create(model=CLAUDE, input=turns, tools=tools)
    assert last.output_text == "The tool said: sunny"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("rate_limited_retry_after", anthropic.RateLimitError),
        ("context_length_exceeded", anthropic.BadRequestError),
        ("status_500", anthropic.InternalServerError),
        ("bad_json", anthropic.InternalServerError),
    ],
)
def test_errors_are_the_classes_of_anthropics_client(
    anthropics: anthropic.Anthropic,
    gpt: FakeOpenAI,
    word: str,
    kind: type[anthropic.APIStatusError],
) -> None:
    gpt.default = word
    with pytest.raises(kind) as caught:
        anthropics.messages.create(model=GPT, max_tokens=9, messages=HELLO)
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["message"]


@pytest.mark.parametrize("word", ["cut_mid_stream", "error_event_mid_stream"])
def test_a_stream_that_breaks_raises_in_every_client(
    openais: openai.OpenAI,
    anthropics: anthropic.Anthropic,
    gpt: FakeOpenAI,
    claude: FakeAnthropic,
    word: str,
) -> None:
    gpt.default = claude.default = word
    with (
        pytest.raises(anthropic.APIError),
        anthropics.messages.stream(model=GPT, max_tokens=99, messages=HELLO) as messages,
    ):
        messages.get_final_message()
    with pytest.raises(openai.APIError):
        list(openais.chat.completions.create(model=CLAUDE, messages=HELLO, stream=True))


def test_a_response_that_breaks_has_failed(openais: openai.OpenAI, claude: FakeAnthropic) -> None:
    claude.script("hang_after_headers")
    events = list(openais.responses.create(model=CLAUDE, input="Hello", stream=True))
    assert events[-1].type == "response.failed"
