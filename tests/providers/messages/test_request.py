"""Requests of clients of Anthropic's API, translated for OpenAI's dialect. All pass the fake's checks."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.providers.messages.translation import FromMessages
from tests.fakes.openai_checks import check_chat

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "d", "input_schema": SCHEMA}
FUNCTION = {"name": "weather", "description": "d", "parameters": SCHEMA}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
CALL = {
    "id": "toolu_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def sent(**body: Any) -> dict[str, Any]:
    given = {"model": "x", "max_tokens": 9, "messages": HELLO, **body}
    request = FromMessages().request(given, model_id="gpt")
    assert check_chat({name: value for name, value in request.items() if name != "top_k"}) is None
    return request


def messages(*given: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(given), **more)["messages"]
    return found


def test_the_least_request() -> None:
    assert sent() == {"model": "gpt", "messages": HELLO, "max_completion_tokens": 9}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
        ({"stream": True}, {"stream": True}),
        ({"metadata": {"user_id": "u1"}}, {"user": "u1"}),
        ({"output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        # Fields that only Anthropic's servers support are left out.
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {}),
        ({"service_tier": "auto", "cache_control": {"type": "ephemeral"}, "mcp_servers": []}, {}),
        ({"tool_choice": {"type": "auto"}}, {}),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, {}),
        ({"metadata": {"user_id": "u" * 65}}, {}),
    ],
)
def test_options(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(**given) == {**sent(), **expected}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_tools(choice: dict[str, Any], expected: Any) -> None:
    request = sent(tools=[TOOL], tool_choice=choice)
    assert request["tools"] == [{"type": "function", "function": FUNCTION}]
    assert request["tool_choice"] == expected
    assert "parallel_tool_calls" not in request
    one = sent(tools=[TOOL], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert one["parallel_tool_calls"] is False


def test_the_system_prompt() -> None:
    blocks = [
        {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "B"},
    ]
    assert messages(*HELLO, system="A")[0] == {"role": "system", "content": "A"}
    assert messages(*HELLO, system=blocks)[0] == {"role": "system", "content": "A\nB"}
    later = messages(*HELLO, {"role": "system", "content": blocks}, *HELLO)
    assert later[1] == {"role": "system", "content": "A\nB"}


def test_calls_results_images_and_thinking() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1"}
    found = messages(
        {"role": "user", "content": [{"type": "text", "text": "Look"}, PNG]},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "I see."}, USE]},
        {
            "role": "user",
            "content": [{**result, "content": [{"type": "text", "text": "sun"}, PNG]}],
        },
        {"role": "assistant", "content": [USE]},
        {
            "role": "user",
            "content": [
                {**result, "content": "broken", "is_error": True},
                {"type": "text", "text": "So?"},
            ],
        },
        tools=[TOOL],
    )
    assert found == [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, PNG_PART]},
        {"role": "assistant", "content": "I see.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"},
        {"role": "user", "content": [PNG_PART]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: broken"},
        {"role": "user", "content": "So?"},
    ]


def test_tools_that_only_anthropic_has_are_left_out() -> None:
    foreign = [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    ]
    offered = sent(tools=[foreign[0], TOOL, *foreign[1:], TOOL | {"name": "other", "type": "custom"}])["tools"]
    assert [tool["function"]["name"] for tool in offered] == ["weather", "other"]
    assert "tools" not in sent(tools=foreign, tool_choice={"type": "auto"})


def test_the_work_of_tools_that_anthropic_ran_is_left_out() -> None:
    used = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    results = [{"type": f"{name}_tool_result", "tool_use_id": "s1", "content": []} for name in ("web_search", "bash")]
    look, done, more = ({"type": "text", "text": text} for text in ("Let me look. ", "Done.", "And?"))
    found = messages(
        *HELLO,
        {"role": "assistant", "content": [look, used, *results, done]},
        {"role": "user", "content": [*results, more]},
    )
    assert [turn["content"] for turn in found] == ["Hello", "Let me look. Done.", "And?"]


def test_a_search_result_is_a_text() -> None:
    block = {"type": "search_result", "title": "Bern", "source": "x", "content": [{"type": "text", "text": "A city."}]}
    assert messages({"role": "user", "content": [block]})[0]["content"] == "Bern\nA city."


def test_documents() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    text = {"type": "text", "media_type": "text/plain", "data": "words"}
    blocks = [
        {"type": "document", "source": source, "title": "a.pdf"},
        {"type": "document", "source": text},
    ]
    assert messages({"role": "user", "content": blocks})[0]["content"] == [
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        },
        {"type": "text", "text": "words"},
    ]


@pytest.mark.parametrize(
    ("given", "param", "kind"),
    [
        ({"max_tokens": None}, "max_tokens", InvalidRequest),
        ({"max_tokens": 0}, "max_tokens", InvalidRequest),
        ({"temperature": 1.5}, "temperature", InvalidRequest),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", InvalidRequest),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", InvalidRequest),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "messages[0].content[0].tool_use_id",
            InvalidRequest,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages[0].content[0].type",
            UnsupportedParameter,
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "So"}]},
            "messages",
            UnsupportedParameter,
        ),
        ({"system": [{"type": "image"}]}, "system[0].type", UnsupportedParameter),
        ({"tools": [{"type": "web_search_20250305"}], "tool_choice": {"type": "any"}}, "tools", InvalidRequest),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema", InvalidRequest),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].name", InvalidRequest),
        ({"tool_choice": {"type": "any"}}, "tools", InvalidRequest),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type", InvalidRequest),
        ({"container": "c1"}, "container", UnsupportedParameter),
        ({"mcp_servers": [{}]}, "mcp_servers", UnsupportedParameter),
        ({"inference_geo": "us"}, "inference_geo", UnsupportedParameter),
        ({"stop_sequences": [""]}, "stop_sequences", InvalidRequest),
        ({"thinking": {"type": "deep"}}, "thinking.type", InvalidRequest),
        ({"output_config": {"effort": "huge"}}, "output_config.effort", InvalidRequest),
        (
            {"output_config": {"format": {"type": "xml"}}},
            "output_config.format.type",
            InvalidRequest,
        ),
    ],
)
def test_refusals_name_the_field(given: dict[str, Any], param: str, kind: type[InvalidRequest]) -> None:
    body = {"max_tokens": 9, "messages": HELLO, **given}
    with pytest.raises(InvalidRequest) as caught:
        FromMessages().request(body, model_id="gpt")
    assert (caught.value.param, type(caught.value)) == (param, kind)
