"""OpenAI's Responses API over chat completions: requests, answers and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from models_app.domain.errors import (
    InvalidRequest,
    ProviderError,
    RateLimited,
    UnsupportedParameter,
)
from models_app.providers.responses.stream import ResponsesStream
from models_app.providers.responses.translation import FromResponses
from tests.fakes import openai_answers
from tests.fakes.openai_checks import check_chat
from tests.providers.streams import event, events, is_the_same_however_it_is_cut, through

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "d",
    "parameters": SCHEMA,
    "strict": True,
}
FUNCTION = {"name": "weather", "description": "d", "parameters": SCHEMA, "strict": True}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}

# Requests


def sent(**body: Any) -> dict[str, Any]:
    request = FromResponses().request({"model": "x", "input": "Hello", **body}, model_id="gpt")
    assert check_chat(request) is None
    return request


def test_the_least_request() -> None:
    assert sent() == {"model": "gpt", "messages": HELLO}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 1.5, "top_p": 0.5}, {"temperature": 1.5, "top_p": 0.5}),
        ({"stream": True}, {"stream": True}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        ({"user": "u1"}, {"user": "u1"}),
        ({"tool_choice": "auto", "tools": []}, {}),
        # Fields without effect are left out.
        ({"store": False, "background": False, "truncation": "disabled", "include": []}, {}),
        ({"include": ["reasoning.encrypted_content"], "metadata": {"a": "b"}}, {}),
        ({"max_tool_calls": 3, "service_tier": "auto", "prompt_cache_key": "k"}, {}),
    ],
)
def test_options(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(**given) == {**sent(), **expected}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        (
            {"type": "function", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ],
)
def test_tools(choice: Any, expected: Any) -> None:
    request = sent(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert request["tools"] == [{"type": "function", "function": FUNCTION}]
    assert (request["tool_choice"], request["parallel_tool_calls"]) == (expected, False)


def test_input_items() -> None:
    image = {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"}
    file = {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,aGk=",
    }
    text = {"type": "input_text", "text": "Look"}
    found = sent(
        instructions="Be kind",
        tools=[TOOL],
        input=[
            {"role": "user", "content": [text, image, file]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I see."}],
            },
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            {"type": "function_call_output", "call_id": "c2", "output": [text]},
            {"role": "developer", "content": "Short!"},
        ],
    )["messages"]
    assert found == [
        {"role": "system", "content": "Be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://example.org/a.png", "detail": "low"},
                },
                {"type": "file", "file": {"filename": "a.pdf", "file_data": file["file_data"]}},
            ],
        },
        {
            "role": "assistant",
            "content": "I see.",
            "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "Look"},
        {"role": "developer", "content": "Short!"},
    ]


@pytest.mark.parametrize(
    ("given", "param", "kind"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", UnsupportedParameter),
        ({"conversation": "conv_1"}, "conversation", UnsupportedParameter),
        ({"store": True}, "store", UnsupportedParameter),
        ({"background": True}, "background", UnsupportedParameter),
        ({"prompt": {"id": "p"}}, "prompt", UnsupportedParameter),
        ({"include": ["message.output_text.logprobs"]}, "include", UnsupportedParameter),
        ({"include": ["message.output_text.logprobs"]}, "include", UnsupportedParameter),
        ({"top_logprobs": 1}, "top_logprobs", UnsupportedParameter),
        ({"tools": [{"name": "x"}]}, "tools[0].type", InvalidRequest),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tools", InvalidRequest),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", UnsupportedParameter),
        (
            {"tools": [TOOL], "tool_choice": {"type": "mcp"}},
            "tool_choice.type",
            UnsupportedParameter,
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", UnsupportedParameter),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "input[0].content[0].type",
            UnsupportedParameter,
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].image_url",
            InvalidRequest,
        ),
        ({"input": None}, "input", InvalidRequest),
        ({"input": []}, "input", InvalidRequest),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", InvalidRequest),
        ({"input": [{**CALL, "call_id": ""}]}, "input[0].call_id", InvalidRequest),
        ({"tool_choice": "required"}, "tools", InvalidRequest),
        (
            {"text": {"format": {"type": "json_schema", "name": "n"}}},
            "text.format.schema",
            InvalidRequest,
        ),
        ({"temperature": 3}, "temperature", InvalidRequest),
        ({"max_output_tokens": 0}, "max_output_tokens", InvalidRequest),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", InvalidRequest),
    ],
)
def test_refusals_name_the_field(given: dict[str, Any], param: str, kind: type[InvalidRequest]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        FromResponses().request({"input": "Hello", **given}, model_id="gpt")
    assert (caught.value.param, type(caught.value)) == (param, kind)


# Answers

ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me"}]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "a call": {"tools": TOOLS, "tool_choice": "required"},
    "cut by the limit": {"max_tokens": 2},
}
every_case = pytest.mark.parametrize("case", CASES)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def make() -> ResponsesStream:
    return ResponsesStream(model="mine", created=7)


def answered(case: str) -> dict[str, Any]:
    body = openai_answers.chat(ASK | CASES[case]).whole
    return FromResponses().answer(body, model="mine")[0] | {"created_at": 7}


def recorded(case: str) -> bytes:
    body = ASK | CASES[case] | {"stream": True, "stream_options": {"include_usage": True}}
    return b"".join(openai_answers.chat(body).events or ())


@every_case
def test_a_whole_answer_is_a_response(case: str) -> None:
    answer = answered(case)
    Response.model_validate(answer, strict=True)
    assert answer["store"] is False
    expected = "incomplete" if case == "cut by the limit" else "completed"
    assert answer["status"] == expected
    assert answer["usage"]["input_tokens"] == 2


@every_case
def test_a_stream_ends_with_the_whole_answer(case: str) -> None:
    found = events(is_the_same_however_it_is_cut(make, recorded(case)))
    assert [value["sequence_number"] for value in found] == list(range(len(found)))
    assert [value["type"] for value in found[:2]] == ["response.created", "response.in_progress"]
    last = found[-1]["response"]
    whole = answered(case)
    for call in [*last["output"], *whole["output"]]:
        if call["type"] == "function_call":
            call["arguments"] = json.loads(call["arguments"])
    assert last == whole
    assert found[-1]["type"] == f"response.{whole['status']}"


@every_case
def test_every_event_is_one_that_openais_client_knows(case: str) -> None:
    for value in events(through(make(), recorded(case))):
        assert EVENT.validate_python(value).type == value["type"]


def test_the_events_of_a_text() -> None:
    found = [value["type"].removeprefix("response.") for value in events(through(make(), recorded("text")))]
    words = 4
    assert found == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * words,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    return event({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def test_reasoning_refusals_and_mixed_calls() -> None:
    def part(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, **more, "function": {"name": "f", "arguments": arguments}}

    data = chunk(reasoning_content="Hm") + chunk(reasoning_content=".") + chunk(content="So")
    data += chunk(refusal="No.") + chunk(tool_calls=[part(0, "{", id="a"), part(1, "{}", id="b")])
    data += chunk(tool_calls=[part(0, "}")]) + chunk(finish="tool_calls") + b"data: [DONE]\n\n"
    found = events(is_the_same_however_it_is_cut(make, data))
    for value in found:
        EVENT.validate_python(value)
    output = found[-1]["response"]["output"]
    assert [(item["type"], item["status"]) for item in output] == [
        ("reasoning", "completed"),
        ("message", "completed"),
        ("message", "completed"),
        ("function_call", "completed"),
        ("function_call", "completed"),
    ]
    assert output[0]["content"][0]["text"] == "Hm."
    assert output[2]["content"][0] == {"type": "refusal", "refusal": "No."}
    assert [item["arguments"] for item in output[3:]] == ["{}", "{}"]
    assert len({item["id"] for item in output}) == 5


def test_a_stream_that_cannot_go_on_has_failed() -> None:
    found = events(through(make(), chunk(content="x") + event({"error": {"message": "Gone."}})))
    assert found[-1]["type"] == "response.failed"
    assert found[-1]["response"]["error"] == {"code": "server_error", "message": "Gone."}
    assert events(make().error(RateLimited("x")))[0]["response"]["error"]["code"] == "rate_limit_exceeded"


def test_a_stream_that_is_cut_has_no_end() -> None:
    data = recorded("text")
    for at in range(0, data.index(b'"finish_reason":"stop"'), 5):
        assert b"response.completed" not in through(make(), data[:at])


def test_what_is_no_answer_is_an_error() -> None:
    with pytest.raises(ProviderError):
        FromResponses().answer({"output": []}, model="mine")
