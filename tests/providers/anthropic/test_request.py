"""Requests for OpenAI's chat completions, translated for Anthropic. Each must pass the checks of the fake."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.providers.anthropic.request import DEFAULT_MAX_TOKENS, JSON_TOOL
from models_app.providers.anthropic.translation import ToAnthropic
from tests.fakes.anthropic_answers import SIGNATURE
from tests.fakes.anthropic_checks import check_messages

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": SCHEMA},
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE}
TEXT = {"type": "text", "text": "Hello"}


def sent(**body: Any) -> dict[str, Any]:
    request = ToAnthropic().request({"model": "x", "messages": HELLO, **body}, model_id="claude")
    assert check_messages(request) is None
    assert request["model"] == "claude"
    return request


def messages(*given: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(given), tools=[TOOL])["messages"]
    return found


def test_the_least_request() -> None:
    assert sent() == {
        "model": "claude",
        "messages": [{"role": "user", "content": [TEXT]}],
        "max_tokens": DEFAULT_MAX_TOKENS,
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 1.7}, {"temperature": 1.0}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"safety_identifier": "s1", "user": "u1"}, {"metadata": {"user_id": "s1"}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
        ({"reasoning_effort": "none"}, {}),
        (
            {"reasoning_effort": "low"},
            {
                "thinking": {"type": "enabled", "budget_tokens": 2048},
                "max_tokens": DEFAULT_MAX_TOKENS + 2048,
            },
        ),
        (
            {"reasoning_effort": "high", "max_tokens": 4000},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
        ),
        ({"reasoning_effort": "high", "max_tokens": 500}, {"max_tokens": 500}),
        ({"reasoning_effort": "high", "temperature": 0.2}, {"temperature": 0.2}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ({"output_config": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000}},
            {
                "thinking": {"type": "enabled", "budget_tokens": 9000},
                "max_tokens": DEFAULT_MAX_TOKENS + 9000,
            },
        ),
        # Fields without effect are left out.
        ({"seed": 1, "n": 1, "logprobs": False, "logit_bias": {}, "presence_penalty": 0}, {}),
        ({"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "verbosity": "low"}, {}),
        ({"response_format": {"type": "text"}, "modalities": ["text"], "anything": 1}, {}),
    ],
)
def test_options(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(**given) == {**sent(), **expected}


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, True, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            True,
            {"type": "tool", "name": "weather"},
        ),
    ],
)
def test_tools(choice: Any, parallel: bool, expected: dict[str, Any]) -> None:
    request = sent(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel)
    assert request["tools"] == [{"name": "weather", "description": "d", "input_schema": SCHEMA}]
    assert request["tool_choice"] == expected


def test_cache_marks_and_strictness_of_tools_are_kept() -> None:
    mark = {"type": "ephemeral"}
    function = {"name": "plain", "strict": True}
    tool = sent(tools=[{"type": "function", "function": function, "cache_control": mark}])["tools"][0]
    assert tool == {
        "name": "plain",
        "input_schema": {"type": "object"},
        "strict": True,
        "cache_control": mark,
    }


def test_system_and_developer_messages_go_to_the_top() -> None:
    mark = {"type": "ephemeral"}
    request = sent(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "A", "cache_control": mark}]},
            *HELLO,
            {"role": "developer", "content": "B"},
        ]
    )
    assert request["system"] == [
        {"type": "text", "text": "A", "cache_control": mark},
        {"type": "text", "text": "B"},
    ]
    assert request["messages"] == [{"role": "user", "content": [TEXT]}]


def test_images_and_files() -> None:
    def content(part: dict[str, Any]) -> Any:
        return sent(messages=[{"role": "user", "content": [part]}])["messages"][0]["content"][0]

    def image(url: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}

    inline = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert content(image("data:image/png;base64,aGk=")) == {"type": "image", "source": inline}
    remote = {"type": "url", "url": "https://example.org/a.png"}
    assert content(image("https://example.org/a.png")) == {"type": "image", "source": remote}
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}
    source = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    expected = {"type": "document", "source": source, "title": "a.pdf"}
    assert content({"type": "file", "file": file}) == expected


def test_calls_and_results_become_blocks_of_two_turns() -> None:
    calls = [CALL, {**CALL, "id": "functions.weather:1"}]
    found = messages(
        *HELLO,
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": calls,
            "thinking_blocks": [THOUGHT],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        {"role": "tool", "tool_call_id": "functions.weather:1", "content": ""},
        {"role": "user", "content": "And?"},
    )
    use = {"type": "tool_use", "name": "weather", "input": {"city": "Bern"}}
    assert [turn["role"] for turn in found] == ["user", "assistant", "user"]
    assert found[1]["content"] == [
        THOUGHT,
        {"type": "text", "text": "Let me see."},
        {**use, "id": "call_1"},
        {**use, "id": "functions_weather_1"},
    ]
    assert found[2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "call_1",
            "content": [{"type": "text", "text": "sun"}],
        },
        {"type": "tool_result", "tool_use_id": "functions_weather_1"},
        {"type": "text", "text": "And?"},
    ]


def test_empty_texts_are_left_out_and_a_last_turn_is_trimmed() -> None:
    found = messages(
        *HELLO,
        {"role": "assistant", "content": ""},
        {
            "role": "user",
            "content": [{"type": "text", "text": ""}, {"type": "text", "text": "So?"}],
        },
        {"role": "assistant", "content": "Well, "},
    )
    assert [turn["content"][-1]["text"] for turn in found] == ["So?", "Well,"]


def test_a_call_whose_thinking_is_missing_ends_the_wish_to_think() -> None:
    turns: list[dict[str, Any]] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
    ]
    assert "thinking" not in sent(messages=turns, tools=[TOOL], reasoning_effort="low")
    turns[1]["thinking_blocks"] = [THOUGHT]
    assert "thinking" in sent(messages=turns, tools=[TOOL], reasoning_effort="low")
    assert "thinking" not in sent(tools=[TOOL], tool_choice="required", reasoning_effort="low")


def test_a_strict_schema_is_anthropics_own_format() -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
    request = sent(response_format=shape, tools=[TOOL], reasoning_effort="low")
    assert request["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "thinking" in request
    assert [tool["name"] for tool in request["tools"]] == ["weather"]


def test_other_json_is_the_input_of_a_tool() -> None:
    loose = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    request = sent(response_format=loose)
    assert request["tools"][0]["input_schema"] == SCHEMA
    assert request["tool_choice"] == {"type": "tool", "name": JSON_TOOL}
    beside = sent(response_format={"type": "json_object"}, tools=[TOOL])
    assert [tool["name"] for tool in beside["tools"]] == ["weather", JSON_TOOL]
    assert beside["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    forced = sent(response_format=loose, tools=[TOOL], tool_choice="required")
    assert [tool["name"] for tool in forced["tools"]] == ["weather"]


PART = {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}
USE = {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "w", "arguments": [1]}}]}
IMAGE = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}


@pytest.mark.parametrize(
    ("given", "param", "kind"),
    [
        ({"n": 2}, "n", UnsupportedParameter),
        ({"n": True}, "n", UnsupportedParameter),
        ({"logprobs": True}, "logprobs", UnsupportedParameter),
        ({"top_logprobs": 2}, "top_logprobs", UnsupportedParameter),
        ({"logit_bias": {"1": 2}}, "logit_bias", UnsupportedParameter),
        ({"frequency_penalty": 0.5}, "frequency_penalty", UnsupportedParameter),
        ({"presence_penalty": -1}, "presence_penalty", UnsupportedParameter),
        ({"modalities": ["text", "audio"]}, "modalities", UnsupportedParameter),
        ({"audio": {}}, "audio", UnsupportedParameter),
        ({"web_search_options": {}}, "web_search_options", UnsupportedParameter),
        ({"functions": []}, "functions", UnsupportedParameter),
        ({"api_base": "http://x"}, "api_base", UnsupportedParameter),
        ({"stop": [" \n"]}, "stop", UnsupportedParameter),
        ({"messages": [PART]}, "messages[0].content[0].type", UnsupportedParameter),
        ({"messages": []}, "messages", InvalidRequest),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages", InvalidRequest),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", InvalidRequest),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", InvalidRequest),
        ({"messages": [USE]}, "messages[0].tool_calls[0].function.arguments", InvalidRequest),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages[0].tool_call_id",
            InvalidRequest,
        ),
        (
            {"messages": [{"role": "user", "content": [IMAGE]}]},
            "messages[0].content[0].image_url.url",
            InvalidRequest,
        ),
        ({"temperature": 3}, "temperature", InvalidRequest),
        ({"max_tokens": 0}, "max_tokens", InvalidRequest),
        ({"stop": [1]}, "stop", InvalidRequest),
        ({"reasoning_effort": "huge"}, "reasoning_effort", InvalidRequest),
        ({"thinking": "yes"}, "thinking", InvalidRequest),
        ({"tool_choice": "required"}, "tool_choice", InvalidRequest),
        ({"response_format": {"type": "xml"}}, "response_format.type", InvalidRequest),
        (
            {"tools": [{"type": "function", "function": {"name": JSON_TOOL}}]},
            "tools",
            InvalidRequest,
        ),
    ],
)
def test_refusals_name_the_field(given: dict[str, Any], param: str, kind: type[InvalidRequest]) -> None:
    body = {"messages": HELLO, **given}
    with pytest.raises(InvalidRequest) as caught:
        ToAnthropic().request(body, model_id="claude")
    assert (caught.value.param, type(caught.value)) == (param, kind)
