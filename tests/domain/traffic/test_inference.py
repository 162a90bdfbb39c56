"""The refused bodies of the OpenAI endpoints, and the field that the error names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import inference

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SCHEMA = {"name": "answer", "schema": {"type": "object"}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


# A name, the fields that are wrong, and the `param` of the refusal.
Case = tuple[str, dict[str, Any], str]

SHARED: list[Case] = [
    ("model missing", {"model": None}, "model"),
    ("model empty", {"model": ""}, "model"),
    ("model a number", {"model": 5}, "model"),
    ("model of 10 KiB", {"model": "m" * 10_240}, "model"),
    ("model with a line break", {"model": "a\r\nb"}, "model"),
    ("model with a NUL", {"model": "a\0"}, "model"),
    ("user of 10 KiB", {"user": "u" * 10_240}, "user"),
    ("user a number", {"user": 1}, "user"),
    *((name, {name: "x"}, name) for name in sorted(inference.REFUSED)),
]

GENERATING: list[Case] = [
    ("stream a word", {"stream": "true"}, "stream"),
    ("stream a number", {"stream": 1}, "stream"),
    ("stream an object", {"stream": {}}, "stream"),
    ("stream_options without stream", {"stream_options": {}}, "stream_options"),
    ("stream_options a list", {"stream": True, "stream_options": []}, "stream_options"),
    (
        "include_usage a word",
        {"stream": True, "stream_options": {"include_usage": "yes"}},
        "stream_options.include_usage",
    ),
    ("max_tokens zero", {"max_tokens": 0}, "max_tokens"),
    ("max_tokens negative", {"max_tokens": -1}, "max_tokens"),
    ("max_tokens 2^31", {"max_tokens": 2**31}, "max_tokens"),
    ("max_tokens a fraction", {"max_tokens": 1.5}, "max_tokens"),
    ("max_tokens true", {"max_tokens": True}, "max_tokens"),
    ("max_tokens a word", {"max_tokens": "12"}, "max_tokens"),
    ("max_completion_tokens zero", {"max_completion_tokens": 0}, "max_completion_tokens"),
    ("both limits", {"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ("n zero", {"n": 0}, "n"),
    ("n nine", {"n": 9}, "n"),
    ("n a million", {"n": 10**6}, "n"),
    ("n a fraction", {"n": 1.0}, "n"),
    ("temperature negative", {"temperature": -1}, "temperature"),
    ("temperature 1e308", {"temperature": 1e308}, "temperature"),
    ("temperature not a number", {"temperature": float("nan")}, "temperature"),
    ("temperature infinite", {"temperature": float("inf")}, "temperature"),
    ("temperature true", {"temperature": True}, "temperature"),
    ("temperature a word", {"temperature": "hot"}, "temperature"),
    ("top_p negative", {"top_p": -0.1}, "top_p"),
    ("top_p above one", {"top_p": 1.1}, "top_p"),
    ("top_p infinite", {"top_p": float("inf")}, "top_p"),
    ("top_k below -1", {"top_k": -2}, "top_k"),
    ("top_k a fraction", {"top_k": 0.5}, "top_k"),
    ("min_p above one", {"min_p": 2}, "min_p"),
    ("repeat_penalty zero", {"repeat_penalty": 0}, "repeat_penalty"),
    ("repeat_penalty 1e308", {"repeat_penalty": 1e308}, "repeat_penalty"),
    ("presence_penalty -3", {"presence_penalty": -3}, "presence_penalty"),
    ("frequency_penalty 3", {"frequency_penalty": 3}, "frequency_penalty"),
    ("frequency_penalty nan", {"frequency_penalty": float("nan")}, "frequency_penalty"),
    ("seed 2^64", {"seed": 2**64}, "seed"),
    ("seed a fraction", {"seed": 1.5}, "seed"),
    ("stop empty", {"stop": ""}, "stop"),
    ("stop with an empty string", {"stop": ["a", ""]}, "stop"),
    ("stop 33 strings", {"stop": ["a"] * 33}, "stop"),
    ("stop 100,000 strings", {"stop": ["a"] * 100_000}, "stop"),
    ("stop too long", {"stop": "x" * 100_000}, "stop"),
    ("stop a number", {"stop": 7}, "stop"),
    ("stop an object", {"stop": {}}, "stop"),
    ("logit_bias a list", {"logit_bias": []}, "logit_bias"),
    ("logit_bias a word as id", {"logit_bias": {"cat": 1}}, "logit_bias"),
    ("logit_bias negative id", {"logit_bias": {"-1": 1}}, "logit_bias"),
    ("logit_bias id beyond 31 bits", {"logit_bias": {"2147483648": 1}}, "logit_bias"),
    ("logit_bias id of other digits", {"logit_bias": {"\u0663": 1}}, "logit_bias"),
    ("logit_bias value 101", {"logit_bias": {"5": 101}}, "logit_bias.5"),
    ("logit_bias value a word", {"logit_bias": {"5": "much"}}, "logit_bias.5"),
    ("logit_bias 100,000", {"logit_bias": {str(n): 1 for n in range(100_000)}}, "logit_bias"),
    ("ignore_eos a word", {"ignore_eos": "yes"}, "ignore_eos"),
    ("cache_prompt a word", {"cache_prompt": "no"}, "cache_prompt"),
]

CHAT: list[Case] = [
    ("messages missing", {"messages": None}, "messages"),
    ("messages empty", {"messages": []}, "messages"),
    ("messages a string", {"messages": "Hi"}, "messages"),
    ("messages an object", {"messages": USER}, "messages"),
    ("a message a string", {"messages": [USER, "Hi"]}, "messages[1]"),
    ("10,001 messages", {"messages": [USER] * 10_001}, "messages"),
    ("no role", {"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ("unknown role", {"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role"),
    ("role a number", {"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role"),
    ("content null", {"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ("content a number", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("content an object", {"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
    (
        "content an empty list",
        {"messages": [{"role": "user", "content": []}]},
        "messages[0].content",
    ),
    (
        "content a list of strings",
        {"messages": [{"role": "user", "content": ["Hi"]}]},
        "messages[0].content[0]",
    ),
    (
        "unknown part",
        {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
        "messages[0].content[0].type",
    ),
    (
        "text part without text",
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    *(
        (
            f"{kind} part",
            {"messages": [{"role": "user", "content": [{"type": kind, kind: {"url": url}}]}]},
            "messages[0].content[0].type",
        )
        for kind, url in (
            ("image_url", "file:///etc/passwd"),
            ("image_url", "http://169.254.169.254/"),
            ("image_url", "data:image/png;base64," + "A" * 1000),
            ("input_audio", ""),
            ("file", ""),
        )
    ),
    ("name too long", {"messages": [USER | {"name": "n" * 300}]}, "messages[0].name"),
    (
        "tool message without id",
        {"messages": [{"role": "tool", "content": "4"}]},
        "messages[0].tool_call_id",
    ),
    (
        "tool call without function",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "messages[0].tool_calls[0].function",
    ),
    (
        "tool call with arguments as list",
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": []}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ("logprobs a number", {"logprobs": 3}, "logprobs"),
    ("top_logprobs without logprobs", {"top_logprobs": 3}, "top_logprobs"),
    ("top_logprobs 21", {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ("tools an object", {"tools": {}}, "tools"),
    ("tools empty", {"tools": []}, "tools"),
    ("tools of strings", {"tools": ["look_up"]}, "tools[0]"),
    ("129 tools", {"tools": [TOOL] * 129}, "tools"),
    ("two tools of one name", {"tools": [TOOL, TOOL]}, "tools"),
    ("tool of unknown type", {"tools": [TOOL | {"type": "shell"}]}, "tools[0].type"),
    ("tool without function", {"tools": [{"type": "function"}]}, "tools[0].function"),
    (
        "tool without name",
        {"tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
    ),
    (
        "tool name with spaces",
        {"tools": [{"type": "function", "function": {"name": "look up"}}]},
        "tools[0].function.name",
    ),
    (
        "tool parameters a list",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    ("tool_choice unknown word", {"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
    ("tool_choice a number", {"tools": [TOOL], "tool_choice": 1}, "tool_choice"),
    (
        "tool_choice unknown tool",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        "tool_choice",
    ),
    (
        "tool_choice without function",
        {"tools": [TOOL], "tool_choice": {"type": "function"}},
        "tool_choice.function",
    ),
    ("tool_choice without tools", {"tool_choice": "required"}, "tool_choice"),
    ("parallel_tool_calls a word", {"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ("response_format a word", {"response_format": "json"}, "response_format"),
    ("response_format empty", {"response_format": {}}, "response_format.type"),
    ("response_format unknown", {"response_format": {"type": "xml"}}, "response_format.type"),
    (
        "json_schema missing",
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
    ),
    (
        "json_schema without name",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
    ),
    (
        "json_schema without schema",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    (
        "json_schema too deep",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": SCHEMA | {"schema": nested(33)},
            }
        },
        "response_format.json_schema.schema",
    ),
    (
        "json_schema too large",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": SCHEMA | {"schema": {"const": "x" * 70_000}},
            }
        },
        "response_format.json_schema.schema",
    ),
    ("chat_template_kwargs a list", {"chat_template_kwargs": []}, "chat_template_kwargs"),
    ("chat_template_kwargs deep", {"chat_template_kwargs": {"a": {}}}, "chat_template_kwargs"),
]

COMPLETION: list[Case] = [
    ("prompt missing", {"prompt": None}, "prompt"),
    ("prompt empty", {"prompt": ""}, "prompt"),
    ("prompt an empty list", {"prompt": []}, "prompt"),
    ("prompt a list with an empty list", {"prompt": [[]]}, "prompt"),
    ("prompt a list with an empty string", {"prompt": ["a", ""]}, "prompt"),
    ("prompt a number", {"prompt": 5}, "prompt"),
    ("prompt an object", {"prompt": {}}, "prompt"),
    ("prompt id -1", {"prompt": [-1]}, "prompt"),
    ("prompt id 2^31", {"prompt": [2**31]}, "prompt"),
    ("prompt id a fraction", {"prompt": [1.5]}, "prompt"),
    ("prompt id true", {"prompt": [True]}, "prompt"),
    ("prompt mixed strings and ids", {"prompt": ["a", 1]}, "prompt"),
    ("prompt mixed strings and id lists", {"prompt": ["a", [1]]}, "prompt"),
    ("prompt nested too deep", {"prompt": [[[1]]]}, "prompt"),
    ("129 prompts", {"prompt": ["a"] * 129}, "prompt"),
    ("too many sequences", {"prompt": ["a"] * 20, "n": 8}, "n"),
    ("suffix", {"suffix": "end"}, "suffix"),
    ("echo", {"echo": True, "logprobs": 1}, "echo"),
    ("best_of", {"best_of": 3}, "best_of"),
    ("logprobs 10^9", {"logprobs": 10**9}, "logprobs"),
    ("logprobs -1", {"logprobs": -1}, "logprobs"),
    ("logprobs true", {"logprobs": True}, "logprobs"),
]

EMBEDDING: list[Case] = [
    ("input missing", {"input": None}, "input"),
    ("input empty", {"input": ""}, "input"),
    ("input an empty list", {"input": []}, "input"),
    ("input with an empty string", {"input": ["a", ""]}, "input"),
    ("input with null", {"input": [None]}, "input"),
    ("input 10,000 strings", {"input": ["a"] * 10_000}, "input"),
    ("input a number", {"input": 5}, "input"),
    ("input an object", {"input": {}}, "input"),
    ("input id -1", {"input": [-1]}, "input"),
    ("input id 10^10", {"input": [10**10]}, "input"),
    ("input mixed", {"input": ["a", 1]}, "input"),
    ("encoding_format unknown", {"encoding_format": "hex"}, "encoding_format"),
    ("encoding_format a number", {"encoding_format": 1}, "encoding_format"),
    ("dimensions zero", {"dimensions": 0}, "dimensions"),
    ("dimensions negative", {"dimensions": -5}, "dimensions"),
    ("dimensions a word", {"dimensions": "10"}, "dimensions"),
    ("dimensions a fraction", {"dimensions": 1.5}, "dimensions"),
]


def chat(**fields: Any) -> inference.ChatRequest:
    return inference.parse_chat({"model": "m", "messages": [USER]} | fields)


def completion(**fields: Any) -> inference.CompletionRequest:
    return inference.parse_completion({"model": "m", "prompt": "Hi"} | fields)


def embedding(**fields: Any) -> inference.EmbeddingRequest:
    return inference.parse_embedding({"model": "m", "input": "Hi"} | fields)


def cases(parse: Callable[..., object], *groups: list[Case]) -> list[Any]:
    return [
        pytest.param(parse, fields, param, id=f"{parse.__name__}: {name}")
        for group in groups
        for name, fields, param in group
    ]


@pytest.mark.parametrize(
    ("parse", "fields", "param"),
    [
        *cases(chat, SHARED, GENERATING, CHAT),
        *cases(completion, SHARED, GENERATING, COMPLETION),
        *cases(embedding, SHARED, EMBEDDING),
    ],
)
def test_it_refuses_and_names_the_field(parse: Callable[..., object], fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse(**fields)
    assert refusal.value.param == param
    assert refusal.value.http_status == 400
    assert len(refusal.value.message) < 500
