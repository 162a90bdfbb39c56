"""Answers of OpenAI's chat completions, whole and streamed, as clients of Anthropic's API get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import (
    InsufficientMemory,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ProviderError,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
)
from models_app.providers.messages.errors import anthropic_error
from models_app.providers.messages.stream import MessagesStream
from models_app.providers.messages.translation import FromMessages
from tests.fakes import openai_answers
from tests.providers.streams import event, events, is_the_same_however_it_is_cut, through

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Tell me of it"}],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "a call": {"tools": TOOLS, "tool_choice": "required"},
    "cut by the limit": {"max_tokens": 2},
}
every_case = pytest.mark.parametrize("case", CASES)


def make() -> MessagesStream:
    return MessagesStream(model="mine")


def answered(case: str) -> tuple[dict[str, Any], Usage]:
    return FromMessages().answer(openai_answers.chat(ASK | CASES[case]).whole, model="mine")


def recorded(case: str) -> bytes:
    body = ASK | CASES[case] | {"stream": True, "stream_options": {"include_usage": True}}
    return b"".join(openai_answers.chat(body).events or ())


def assembled(found: list[Any]) -> dict[str, Any]:
    """The message from the events, as Anthropic's clients assemble it; fails for events out of order."""
    message: dict[str, Any] = found[0]["message"]
    assert [value["type"] for value in found[-2:]] == ["message_delta", "message_stop"]
    open_blocks: dict[int, list[str]] = {}
    for value in found[1:-2]:
        index = value["index"]
        if value["type"] == "content_block_start":
            assert index == len(message["content"])
            message["content"].append(value["content_block"])
            open_blocks[index] = []
        elif value["type"] == "content_block_delta":
            delta = value["delta"]
            field = {"input_json_delta": "partial_json"}.get(delta["type"], delta["type"][:-6])
            open_blocks[index].append(delta[field])
        else:
            block, text = message["content"][index], "".join(open_blocks.pop(index))
            if block["type"] == "tool_use":
                block["input"] = json.loads(text or "{}")
            else:
                block[block["type"]] = text
    assert not open_blocks
    return {**message, **found[-2]["delta"], "usage": found[-2]["usage"]}


@every_case
def test_a_stream_makes_the_same_message_as_the_whole_answer(case: str) -> None:
    whole, usage = answered(case)
    stream = make()
    assert assembled(events(through(stream, recorded(case)))) == whole
    assert (stream.usage, stream.done) == (usage, True)


@every_case
def test_a_stream_is_the_same_however_it_is_cut(case: str) -> None:
    is_the_same_however_it_is_cut(make, recorded(case))


@every_case
def test_events_are_named_as_their_type(case: str) -> None:
    for block in through(make(), recorded(case)).strip().split(b"\n\n"):
        name, data = block.split(b"\n")
        assert name == b"event: " + json.loads(data[6:])["type"].encode()


def test_a_whole_answer() -> None:
    answer, usage = answered("a call")
    assert usage == Usage(prompt=4, completion=4, cached=1, reasoning=0)
    assert answer == {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": "mine",
        "content": [{"type": "tool_use", "id": "call_fake1", "name": "weather", "input": {"city": "text", "days": 7}}],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1,
            "output_tokens": 4,
        },
    }


def chat(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"message": message, "finish_reason": "stop", **choice}]}


@pytest.mark.parametrize(
    ("choice", "reason", "word"),
    [
        ({}, "end_turn", None),
        ({"finish_reason": "length"}, "max_tokens", None),
        ({"finish_reason": "tool_calls"}, "tool_use", None),
        ({"finish_reason": "content_filter"}, "refusal", None),
        ({"finish_reason": "new"}, "end_turn", None),
        ({"stop_reason": "END"}, "stop_sequence", "END"),
        ({"stop_reason": 128001}, "end_turn", None),
    ],
)
def test_stop_reasons(choice: dict[str, Any], reason: str, word: str | None) -> None:
    answer, _ = FromMessages().answer(chat({"content": "x"}, **choice), model="mine")
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, word)


def test_reasoning_and_refusals() -> None:
    answer, usage = FromMessages().answer(chat({"reasoning": "Hm.", "content": None, "refusal": "No."}), model="mine")
    assert answer["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "No."},
    ]
    assert answer["stop_reason"] == "refusal"
    assert usage == Usage()


def test_arguments_that_are_no_json_are_none() -> None:
    call = {"function": {"name": "w", "arguments": '{"city": "Be'}}
    answer, _ = FromMessages().answer(chat({"tool_calls": [call, "x"]}), model="mine")
    assert answer["content"] == [{"type": "tool_use", "id": "toolu_0", "name": "w", "input": {}}]


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": ["x"]}, {"choices": [{"message": 3}]}])
def test_what_is_no_answer_is_an_error(body: dict[str, Any]) -> None:
    with pytest.raises(ProviderError) as caught:
        FromMessages().answer(body, model="mine")
    assert caught.value.code == "malformed_answer"


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    return event({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def test_reasoning_text_and_mixed_calls_stream_in_their_blocks() -> None:
    def part(index: int | None, arguments: str, **more: Any) -> dict[str, Any]:
        named = {"name": more.pop("name")} if "name" in more else {}
        place = {} if index is None else {"index": index}
        return {**place, **more, "function": {**named, "arguments": arguments}}

    data = chunk(role="assistant") + chunk(reasoning_content="Hm") + chunk(reasoning_content=".")
    data += chunk(content="So") + chunk(content=":")
    data += chunk(tool_calls=[part(0, "", id="a", name="one"), part(1, "{", id="b", name="two")])
    data += chunk(tool_calls=[part(0, '{"x":1}')]) + chunk(tool_calls=[part(1, "}")])
    data += chunk(finish="tool_calls") + b"data: [DONE]\n\n"
    message = assembled(events(is_the_same_however_it_is_cut(make, data)))
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "a", "name": "one", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "two", "input": {}},
    ]
    whole = [part(None, "{}", id="a", name="one"), part(None, "{}", id="b", name="two")]
    data = chunk(tool_calls=whole) + chunk(finish="tool_calls")
    assert [block["id"] for block in assembled(events(through(make(), data)))["content"]] == [
        "a",
        "b",
    ]


def test_a_stream_that_is_cut_has_no_end() -> None:
    data = recorded("text")
    for at in range(0, data.index(b'"finish_reason":"stop"'), 5):
        stream = make()
        assert b"message_stop" not in through(stream, data[:at])
        assert not stream.done


def test_a_stream_without_done_ends_when_the_model_has_finished() -> None:
    data = recorded("text").replace(b"data: [DONE]\n\n", b"")
    assert through(make(), data) == through(make(), recorded("text"))


def test_errors_end_the_stream() -> None:
    start = chunk(content="x")
    for bad, kind in (
        (event({"error": {"message": "Gone."}}), "api_error"),
        (event({"error": "Gone."}), "api_error"),
        (b"data: {half\n\n", "api_error"),
    ):
        found = events(through(make(), start + bad + recorded("text")))
        assert (found[-1]["type"], found[-1]["error"]["type"]) == ("error", kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("x"), "invalid_request_error"),
        (Unauthenticated("x"), "authentication_error"),
        (PermissionDenied("x"), "permission_error"),
        (NotFound("x"), "not_found_error"),
        (RequestTooLarge("x"), "request_too_large"),
        (RateLimited("x"), "rate_limit_error"),
        (Unavailable("x"), "overloaded_error"),
        (ProviderError("x"), "api_error"),
        (InsufficientMemory("x"), "api_error"),
    ],
)
def test_errors_have_anthropics_shape(error: Any, kind: str) -> None:
    body = anthropic_error(error, "req_1")
    assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", kind, "req_1")
    assert body["error"]["message"] == "x"
