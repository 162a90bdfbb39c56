"""An answer translated whole equals the sum of its translated stream, and calls survive in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.providers.anthropic.translation import ToAnthropic
from models_app.providers.messages.translation import FromMessages
from models_app.providers.responses.translation import FromResponses
from tests.providers.streams import event, events, through

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
objects = st.dictionaries(names, st.none() | st.booleans() | st.integers(-99, 99) | texts, max_size=3)
counts = st.integers(0, 10**6)
# Some servers send objects, and some models write no JSON.
arguments = objects.map(json.dumps) | objects | st.sampled_from(["", "{", '"text"', "[1]", "null", '{"x": "a'])


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | texts), "unknown": 1}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(texts)
    if draw(st.booleans()):
        message["tool_calls"] = [
            {"id": f"c{n}", "type": "function", "function": {"name": draw(names), "arguments": draw(arguments)}}
            for n in range(draw(st.integers(1, 3)))
        ]
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter", "unknown"]))
    usage = {"prompt_tokens": draw(counts), "completion_tokens": draw(counts)}
    usage["total_tokens"] = sum(usage.values())
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def deltas(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "assistant"}]
    for name in ("reasoning_content", "content"):
        found += [{name: piece} for piece in draw(pieces(message.get(name) or ""))]
    numbered = draw(st.booleans())
    for n, call in enumerate(message.get("tool_calls", ())):
        place, given_arguments = {"index": n} if numbered else {}, call["function"]["arguments"]
        parts = draw(pieces(given_arguments)) if isinstance(given_arguments, str) else [given_arguments]
        first = {**call, **place, "function": {**call["function"], "arguments": parts[0]}}
        found += [{"tool_calls": [first]}]
        found += [{"tool_calls": [{**place, "function": {"arguments": part}}]} for part in parts[1:]]
    return found


def chat_stream(draw: st.DrawFn, chat: dict[str, Any]) -> bytes:
    (choice,) = chat["choices"]
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    data = b"".join(
        b": ping\n\n" + event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas(draw, choice["message"])
    )
    data += event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return data + event({**head, "choices": [], "usage": chat["usage"]}) + b"data: [DONE]\n\n"


def sum_of_messages(parts: list[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for part in parts:
        if part["type"] == "message_start":
            message = part["message"]
        elif part["type"] == "content_block_start":
            message["content"].append(part["content_block"])
        elif part["type"] == "content_block_delta":
            block, delta = message["content"][part["index"]], part["delta"]
            if delta["type"] == "input_json_delta":
                inputs[part["index"]] = inputs.get(part["index"], "") + delta["partial_json"]
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
        elif part["type"] == "message_delta":
            message |= part["delta"] | {"usage": part["usage"]}
    for index, text in inputs.items():
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
        message["content"][index]["input"] = value if isinstance(value, dict) else {}
    return message


@settings(max_examples=80, deadline=None)
@given(chats(), st.data())
def test_chats_for_clients_of_messages(chat: dict[str, Any], data: st.DataObject) -> None:
    whole, usage = FromMessages().answer(chat, model="m")
    stream = FromMessages().stream(model="m")
    assert sum_of_messages(events(through(stream, data.draw(streams(chat))))) == whole
    assert stream.done and stream.usage == usage


@settings(max_examples=80, deadline=None)
@given(chats(), st.data())
def test_chats_for_clients_of_responses(chat: dict[str, Any], data: st.DataObject) -> None:
    whole, usage = FromResponses().answer(chat, model="m")
    stream = FromResponses().stream(model="m")
    parts = events(through(stream, data.draw(streams(chat))))
    last = parts[-1]["response"]
    for name in ("status", "incomplete_details", "usage", "error"):
        assert last.get(name) == whole.get(name)
    assert [content_of(item) for item in last["output"]] == [content_of(item) for item in whole["output"]]
    assert [part["item"] for part in parts if part["type"] == "response.output_item.done"] == last["output"]
    assert stream.done and stream.usage == usage


def content_of(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("id", "status")}


@st.composite
def streams(draw: st.DrawFn, chat: dict[str, Any]) -> bytes:
    return chat_stream(draw, chat)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(texts), "signature": "s"})
    if draw(st.booleans()):
        content.append({"type": "text", "text": draw(texts)})
    content += [
        {"type": "tool_use", "id": f"t{n}", "name": draw(names), "input": draw(objects)}
        for n in range(draw(st.integers(0, 3)))
    ]
    called = bool(content) and content[-1]["type"] == "tool_use"
    reasons = ["tool_use"] if called else ["end_turn", "max_tokens", "refusal", "pause_turn", "stop_sequence"]
    usage = {name: draw(counts) for name in ("input_tokens", "cache_read_input_tokens", "output_tokens")}
    shape = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "unknown": 1}
    return {**shape, "content": content, "stop_reason": draw(st.sampled_from(reasons)), "usage": usage}


# The content of a block at its start.
EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}


@st.composite
def message_streams(draw: st.DrawFn, message: dict[str, Any]) -> bytes:
    start = {**message, "content": [], "stop_reason": None}
    data = event({"type": "message_start", "message": start}) + event({"type": "ping"})
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        name, text = {
            "thinking": ("thinking", block.get("thinking")),
            "text": ("text", block.get("text")),
            "tool_use": ("partial_json", json.dumps(block.get("input"), ensure_ascii=False)),
        }[kind]
        empty = EMPTY[kind]
        data += event({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        delta = "input_json_delta" if kind == "tool_use" else f"{kind}_delta"
        parts = [{"type": delta, name: piece} for piece in draw(pieces(text))]
        if kind == "thinking":
            parts.append({"type": "signature_delta", "signature": block["signature"]})
        for part in parts:
            data += event({"type": "content_block_delta", "index": index, "delta": part})
        data += event({"type": "content_block_stop", "index": index}) + event({"type": "unknown_event"})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    data += event({"type": "message_delta", "delta": ended, "usage": message["usage"]})
    return data + event({"type": "message_stop"})


def sum_of_chunks(parts: list[Any]) -> tuple[dict[str, Any], Any, Any]:
    """The message, its reason and its usage."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": [], "thinking_blocks": []}
    finish = usage = None
    for part in parts[:-1]:
        usage = part.get("usage") or usage
        for choice in part["choices"]:
            delta, finish = choice["delta"], choice["finish_reason"] or finish
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            message["thinking_blocks"] += delta.get("thinking_blocks") or []
            for call in delta.get("tool_calls") or ():
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append([call["id"], call["function"]["name"], ""])
                message["tool_calls"][call["index"]][2] += call["function"].get("arguments") or ""
    return message, finish, usage


@settings(max_examples=80, deadline=None)
@given(messages(), st.data())
def test_messages_for_clients_of_chats(message: dict[str, Any], data: st.DataObject) -> None:
    whole, usage = ToAnthropic().answer(message, model="m")
    stream = ToAnthropic().stream(model="m")
    parts = events(through(stream, data.draw(message_streams(message))))
    assert parts[-1] == "[DONE]"
    found, finish, counted = sum_of_chunks(parts)
    (choice,) = whole["choices"]
    expected = choice["message"]
    assert (finish, counted) == (choice["finish_reason"], whole.get("usage"))
    for name in ("content", "reasoning_content"):
        assert found[name] == (expected.get(name) or "")
    assert found["thinking_blocks"] == (expected.get("thinking_blocks") or [])
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in expected.get("tool_calls", ())
    ]
    assert [(n, f, json.loads(a or "{}")) for n, f, a in found["tool_calls"]] == [
        (n, f, json.loads(a)) for n, f, a in calls
    ]
    assert stream.usage == usage


@pytest.mark.parametrize(
    ("given_arguments", "expected"),
    [({"x": 1}, {"x": 1}), (None, {}), ("{", {"arguments": "{"}), ("[1]", {"arguments": "[1]"}), ("", {})],
)
def test_replayed_arguments_of_any_form_reach_every_dialect(given_arguments: Any, expected: dict[str, Any]) -> None:
    function = {"name": "f", "arguments": given_arguments}
    chat = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": given_arguments}]}
    call = {"type": "function_call", "call_id": "c", **function}
    output = {"type": "function_call_output", "call_id": "c", "output": "y"}
    question = {"role": "user", "content": "x"}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "y"}]}
    from_messages = FromMessages().request({"messages": [question, use, result], "max_tokens": 9}, model_id="m")
    from_responses = FromResponses().request({"input": [question, call, output]}, model_id="m")
    (sent,) = from_messages["messages"][1]["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == expected
    for turn in (chat, from_responses["messages"][1]):
        body = {"messages": [question, turn, {"role": "tool", "tool_call_id": "c", "content": "y"}]}
        (block,) = ToAnthropic().request(body, model_id="m")["messages"][1]["content"]
        assert block["input"] == expected
