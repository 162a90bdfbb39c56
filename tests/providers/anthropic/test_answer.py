"""Answers of Anthropic's API, whole and streamed, as OpenAI's clients get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import EngineError, ProviderError
from models_app.providers.anthropic.request import JSON_TOOL
from models_app.providers.anthropic.stream import AnthropicStream
from models_app.providers.anthropic.translation import ToAnthropic
from tests.fakes import answers, anthropic_answers
from tests.providers.streams import event, events, is_the_same_however_it_is_cut, through

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
ASK: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "Use weather"}],
}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
TOOLS = {"tools": [{"name": "weather", "input_schema": SCHEMA}]}
FORCED_JSON = {
    "tools": [{"name": JSON_TOOL, "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": JSON_TOOL},
}
CASES: dict[str, dict[str, Any]] = {
    "text": {},
    "thinking, text and a call": THINKING | TOOLS,
    "JSON by a tool": FORCED_JSON,
    "cut by the limit": {"max_tokens": 2},
}
every_case = pytest.mark.parametrize("case", CASES)


def make() -> AnthropicStream:
    return AnthropicStream(model="mine", created=7)


def answered(case: str) -> tuple[dict[str, Any], Usage]:
    reply = anthropic_answers.message(ASK | CASES[case], set())
    return ToAnthropic().answer(reply.whole, model="mine")


def recorded(case: str) -> bytes:
    reply = anthropic_answers.message(ASK | CASES[case] | {"stream": True}, set())
    assert reply.events is not None
    return b"".join(reply.events)


def assembled(chunks: list[Any]) -> dict[str, Any]:
    """The message from the deltas of a stream, as OpenAI's clients assemble it."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
    for delta in [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]:
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        if blocks := delta.get("thinking_blocks"):
            message["thinking_blocks"] = message.get("thinking_blocks", []) + blocks
        for part in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            if part["index"] == len(calls):
                calls.append({"id": part["id"], "type": "function", "function": dict(part["function"])})
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    for call in message.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return message


@every_case
def test_a_stream_makes_the_same_message_as_the_whole_answer(case: str) -> None:
    whole, usage = answered(case)
    stream = make()
    found = events(through(stream, recorded(case)))
    assert found[-1] == "[DONE]"
    chunks = found[:-1]
    message = whole["choices"][0]["message"]
    for call in message.get("tool_calls", ()):
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    if JSON_TOOL in json.dumps(CASES[case]):
        message["content"] = json.dumps(json.loads(message["content"]))
    assert assembled(chunks) == message
    assert chunks[-1]["usage"] == whole["usage"]
    assert stream.usage == usage
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert {(c["id"], c["object"], c["model"], c["created"]) for c in chunks} == {
        ("chatcmpl-msg_fake", "chat.completion.chunk", "mine", 7)
    }


@every_case
def test_a_stream_is_the_same_however_it_is_cut(case: str) -> None:
    data = recorded(case)
    whole = is_the_same_however_it_is_cut(make, data)
    assert through(make(), data.replace(b"\n", b"\r\n")) == whole


@every_case
def test_a_stream_that_is_cut_has_no_done(case: str) -> None:
    data = recorded(case)
    for at in range(0, data.rindex(b"event: message_stop"), 5):
        stream = make()
        assert b"[DONE]" not in through(stream, data[:at])
        assert not stream.done


def test_a_whole_answer() -> None:
    answer, _ = answered("thinking, text and a call")
    choice = answer["choices"][0]
    thought = {
        "type": "thinking",
        "thinking": answers.THOUGHT,
        "signature": anthropic_answers.SIGNATURE,
    }
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me see.",
        "refusal": None,
        "reasoning_content": answers.THOUGHT,
        "thinking_blocks": [thought],
        "tool_calls": [
            {
                "id": "toolu_fake1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"text","days":7}'},
            }
        ],
    }


def test_json_by_a_tool_is_content() -> None:
    choice = answered("JSON by a tool")[0]["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"]) == {"city": "text", "days": 7}
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something new", "stop"),
        (None, "stop"),
    ],
)
def test_stop_reasons(stop: str | None, finish: str) -> None:
    body = {"content": [{"type": "text", "text": "x"}], "stop_reason": stop}
    answer, _ = ToAnthropic().answer(body, model="mine")
    assert answer["choices"][0]["finish_reason"] == finish


def test_usage_counts_the_cache_as_part_of_the_prompt() -> None:
    counts = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    answer, usage = ToAnthropic().answer({"content": [], "usage": counts}, model="mine")
    assert usage == Usage(prompt=130, completion=5, cached=100, cache_write=20, reasoning=3)
    assert answer["usage"] == {
        "prompt_tokens": 130,
        "completion_tokens": 5,
        "total_tokens": 135,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def test_unknown_usage_stays_unknown() -> None:
    answer, usage = ToAnthropic().answer({"content": []}, model="mine")
    assert usage == Usage() and "usage" not in answer
    lie = {"input_tokens": -1, "output_tokens": 10**12}
    assert ToAnthropic().answer({"content": [], "usage": lie}, model="mine")[1] == Usage()


def test_what_is_no_message_is_an_error() -> None:
    with pytest.raises(ProviderError) as caught:
        ToAnthropic().answer({"choices": []}, model="mine")
    assert caught.value.code == "malformed_answer"


def test_an_error_event_ends_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    data = recorded("text")
    half = data[: data.index(b"event: content_block_stop")]
    stream = make()
    found = events(through(stream, half + event(error, "error") + data[len(half) :]))
    assert found[-1]["error"]["code"] == "overloaded_error"
    assert found[-1]["error"]["message"] == "Overloaded"
    assert stream.done


@pytest.mark.parametrize(
    "bad",
    [b"data: {half\n\n", b"data: [1]\n\n", b"data: " + b"x" * 9_000_000],
    ids=("half", "list", "long"),
)
def test_what_cannot_be_read_ends_the_stream_with_an_error(bad: bytes) -> None:
    data = recorded("text")
    half = data[: data.index(b"event: content_block_stop")]
    last = events(through(make(), half + bad + data[len(half) :]))[-1]
    assert last["error"]["code"] == "malformed_answer"


def test_what_is_not_known_is_skipped() -> None:
    for value in ({"type": "new_event", "x": 1}, {"no": "type"}, {"type": ["x"]}):
        data = recorded("text")
        assert through(make(), event(value), data) == through(make(), data)


@pytest.mark.parametrize("kind", ["content_block_start", "content_block_delta", "message_delta"])
@pytest.mark.parametrize("value", [{}, {"index": [1], "delta": 3, "content_block": []}])
def test_events_without_what_belongs_in_them_break_nothing(kind: str, value: Any) -> None:
    found = events(through(make(), event({**value, "type": kind}), recorded("text")))
    assert found[-1] == "[DONE]"


def test_a_call_without_arguments_has_empty_ones() -> None:
    block = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
    data = event({"type": "content_block_start", "index": 0, "content_block": block})
    data += event({"type": "content_block_stop", "index": 0})
    parts = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in events(through(make(), data))]
    assert "".join(part["function"]["arguments"] for part in parts) == "{}"


def test_an_error_of_the_gateway_has_openais_shape() -> None:
    assert events(make().error(EngineError("Gone.")))[0]["error"]["code"] == "engine_error"
