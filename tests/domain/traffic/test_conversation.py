"""Messages and tools in the form that chat templates read, and the bounds of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.json_body import Fields
from models_app.domain.traffic.conversation import (
    Message,
    Tool,
    ToolChoice,
    parse_messages,
    parse_tool_choice,
    parse_tools,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def message(body: dict[str, Any]) -> Message:
    (found,) = parse_messages(Fields({"messages": [body]}))
    return found


def tools(*functions: dict[str, Any]) -> tuple[Tool, ...]:
    return parse_tools(Fields({"tools": [{"type": "function", "function": item} for item in functions]}))


def choice(value: Any, *names: str) -> ToolChoice:
    offered = tuple(Tool(name, {}, False, {}) for name in names)
    return parse_tool_choice(Fields({"tool_choice": value}), offered)


def refused_at(body: dict[str, Any]) -> str | None:
    with pytest.raises(InvalidRequest) as refusal:
        message(body)
    return refusal.value.param


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_a_message_has_a_role_and_a_text(role: str) -> None:
    assert message({"role": role, "content": "Hi"}) == {"role": role, "content": "Hi"}


def test_a_name_is_kept() -> None:
    named = {"role": "user", "content": "Hi", "name": "n" * 256}
    assert message(named) == named
    assert refused_at(named | {"name": "n" * 257}) == "messages[0].name"


def test_the_answer_of_a_tool_keeps_the_id_of_its_call() -> None:
    answer = {"role": "tool", "content": "4", "tool_call_id": "i" * 256}
    assert message(answer) == answer
    for wrong in ("", None, "i" * 257):
        assert refused_at(answer | {"tool_call_id": wrong}) == "messages[0].tool_call_id"


def test_calls_are_kept_with_their_arguments_as_an_object() -> None:
    expected = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    without_id = {"function": {"name": "g-2_", "arguments": "{}"}}
    found = message({"role": "assistant", "tool_calls": [CALL, without_id]})
    assert found == {
        "role": "assistant",
        "content": "",
        "tool_calls": [expected, {"id": "", "type": "function", "function": {"name": "g-2_", "arguments": {}}}],
    }


DEEP = '{"a":' * 70 + "1" + "}" * 70


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        *((text, {"arguments": text}) for text in ("{", '{"x": "a', "[1]", "7", '"text"', "true", DEEP)),
        *((nothing, {}) for nothing in ("", " \n", "null", "{}", None)),
        ({"x": 1}, {"x": 1}),
    ],
)
def test_templates_get_an_object_whatever_a_model_wrote_as_arguments(arguments: Any, shown: dict[str, Any]) -> None:
    """A client repeats a malformed call with each later request: a refusal would end the conversation."""
    function = {"name": "f", "arguments": arguments}
    (found,) = message({"role": "assistant", "tool_calls": [{"id": "c", "function": function}]})["tool_calls"]
    assert found["function"]["arguments"] == shown
    (old,) = message({"role": "assistant", "content": None, "function_call": function})["tool_calls"]
    assert old["function"]["arguments"] == shown


def test_calls_of_the_older_form_are_calls_of_tools() -> None:
    asked = message({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}})
    answered = message({"role": "function", "name": "f", "content": "3"})
    (call,) = asked["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "f", "arguments": {"x": 1}})
    assert answered == {"role": "tool", "content": "3", "name": "f", "tool_call_id": call["id"]}
    assert refused_at({"role": "function", "content": "3"}) == "messages[0].name"


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_an_empty_list_is_an_empty_text(role: str) -> None:
    assert message({"role": role, "content": []}) == {"role": role, "content": ""}


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_only_the_assistant_calls_tools(role: str) -> None:
    assert message({"role": role, "content": "Hi", "tool_calls": [CALL]}) == {"role": role, "content": "Hi"}


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"type": "shell"}, "type"),
        ({"id": "i" * 257}, "id"),
        ({"function": {"arguments": "{}"}}, "function.name"),
        ({"function": {"name": "a b", "arguments": "{}"}}, "function.name"),
        ({"function": {"name": "f", "arguments": 7}}, "function.arguments"),
        ({"function": {"name": "f", "arguments": [1]}}, "function.arguments"),
    ],
)
def test_a_refused_call_is_named_by_its_place(call: dict[str, Any], param: str) -> None:
    body = {"role": "assistant", "tool_calls": [CALL, CALL | call]}
    assert refused_at(body) == f"messages[0].tool_calls[1].{param}"


def test_an_id_and_a_list_of_calls_are_bounded() -> None:
    longest = CALL | {"id": "i" * 256}
    assert len(message({"role": "assistant", "tool_calls": [longest] * 128})["tool_calls"]) == 128
    assert refused_at({"role": "assistant", "tool_calls": [longest] * 129}) == "messages[0].tool_calls"


def test_an_assistant_can_have_said_nothing() -> None:
    """It refused, called a tool, or its answer was cut off before the first word."""
    for fields in ({}, {"content": None}, {"refusal": "No."}, {"tool_calls": None}, {"function_call": None}):
        assert message({"role": "assistant", **fields}) == {"role": "assistant", "content": ""}
    for role in ("user", "system"):
        assert refused_at({"role": role, "refusal": "No."}) == "messages[0].content"


def test_one_part_is_a_text() -> None:
    assert message({"role": "user", "content": [{"type": "text", "text": "Hi"}]})["content"] == "Hi"


def test_the_parts_of_an_assistant_can_be_refusals() -> None:
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}, {"type": "refusal"}]
    assert message({"role": "assistant", "content": parts})["content"] == "Well.\nNo.\n"
    assert refused_at({"role": "user", "content": parts}) == "messages[0].content[1].type"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "image", "audio", "video_url"])
def test_parts_that_are_no_text_are_not_supported(kind: str) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        message({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": kind}]})
    assert (refusal.value.code, refusal.value.param) == ("unsupported_content", "messages[0].content[1].type")


def test_a_list_of_messages_is_not_empty() -> None:
    assert len(parse_messages(Fields({"messages": [{"role": "user", "content": ""}] * 10_000}))) == 10_000


def test_a_tool_is_kept_with_the_object_of_the_client() -> None:
    function = {"name": "f", "parameters": {"type": "object"}, "strict": True, "description": "d" * 65_536}
    (tool,) = tools(function)
    assert tool == Tool("f", {"type": "object"}, True, {"type": "function", "function": function})
    (plain,) = tools({"name": "f"})
    assert (plain.parameters, plain.strict) == ({}, False)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"description": "d" * 65_537}, "description"),
        ({"description": 1}, "description"),
        ({"strict": "yes"}, "strict"),
        ({"parameters": 1}, "parameters"),
        ({"name": "n" * 65}, "name"),
        ({"name": ""}, "name"),
    ],
)
def test_a_refused_field_of_a_tool_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        tools({"name": "n" * 64}, {"name": "f"} | change)
    assert refusal.value.param == f"tools[1].function.{param}"


def test_tools_have_different_names() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        tools({"name": "f"}, {"name": "g"}, {"name": "f", "strict": True})
    assert (refusal.value.code, refusal.value.param) == ("named_twice", "tools")


NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        (None, (), ToolChoice("none")),
        (None, ("f",), ToolChoice("auto")),
        ("none", ("f",), ToolChoice("none")),
        ("auto", ("f",), ToolChoice("auto")),
        ("required", ("f",), ToolChoice("required")),
        (NAMED, ("e", "f"), ToolChoice("named", "f")),
        ({"function": {"name": "f"}}, ("f",), ToolChoice("named", "f")),
        ("none", (), ToolChoice("none")),
        ("auto", (), ToolChoice("none")),
    ],
)
def test_the_choice_of_tools(value: Any, names: tuple[str, ...], expected: ToolChoice) -> None:
    assert choice(value, *names) == expected


@pytest.mark.parametrize(
    ("value", "names", "param", "message_part"),
    [
        ("required", (), "tool_choice", "'tools' is empty"),
        (NAMED, (), "tool_choice", "'tools' is empty"),
        (NAMED, ("g",), "tool_choice", "'f', which is not in 'tools'"),
        ("named", ("f",), "tool_choice", "one of none, auto, required"),
        (NAMED | {"type": "shell"}, ("f",), "tool_choice.type", "one of function"),
        ({"type": "function", "function": {"name": "a b"}}, ("f",), "tool_choice.function.name", "1 to 64"),
    ],
)
def test_a_choice_that_no_call_can_satisfy_is_refused(
    value: Any, names: tuple[str, ...], param: str, message_part: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        choice(value, *names)
    assert refusal.value.param == param
    assert message_part in refusal.value.message
