"""Structured answers of the real program: tool calls, JSON, and schemas that would crash llama.cpp."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engines.runner.conftest import Launch
from tests.engines.runner.program import Program
from tests.fakes.gguf_files import write_tiny_gguf

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
HI: list[Any] = [{"role": "user", "content": "Hi"}]
LOOK_UP: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "maxLength": 20}},
            "required": ["word"],
        },
    },
}
STOP: Any = {"type": "function", "function": {"name": "stop"}}
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "color": {"enum": ["red", "blue"]}},
    "required": ["age", "color"],
}


def schema_format(schema: Any, *, strict: bool = False) -> dict[str, Any]:
    described = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": described}


def test_a_required_call_is_a_call(runner: Program) -> None:
    with runner.sdk() as client:
        answer = client.chat.completions.create(
            model="m",
            messages=HI,
            tools=[LOOK_UP, STOP],
            tool_choice="required",
            parallel_tool_calls=False,
        )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls is not None
    assert len(choice.message.tool_calls) == 1
    function = choice.message.tool_calls[0].function  # type: ignore[union-attr]
    assert function.name in ("look_up", "stop")
    json.loads(function.arguments)


def test_a_named_call_is_streamed_with_its_arguments(runner: Program) -> None:
    with runner.sdk() as client:
        stream = client.chat.completions.create(
            model="m",
            messages=HI,
            tools=[STOP, LOOK_UP],
            tool_choice={"type": "function", "function": {"name": "look_up"}},
            parallel_tool_calls=False,
            stream=True,
        )
        choices = [chunk.choices[0] for chunk in stream]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert [call.index for call in calls] == [0]
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "look_up"
    assert set(json.loads(calls[0].function.arguments or "")) == {"word"}
    # As at OpenAI: the client knows what it has forced. It is called once.
    assert choices[-1].finish_reason == "stop"
    assert not any(choice.delta.content for choice in choices)


def test_a_model_that_writes_a_call_by_itself_calls(tmp_path: Any, launch: Launch) -> None:
    says = '<tool_call>{"name": "look_up", "arguments": {"word": "tea"}}</tool_call>'
    runner = launch(write_tiny_gguf(tmp_path / "calls.gguf", says=says)).wait_ready()
    _, answer = runner.chat(tools=[LOOK_UP], temperature=0)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {
        "name": "look_up",
        "arguments": '{"word":"tea"}',
    }
    _, without = runner.chat(tools=[LOOK_UP], tool_choice="none", temperature=0)
    assert without["choices"][0]["message"]["content"] == says


def test_a_conversation_with_calls_and_results_goes_on(runner: Program) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "stop", "arguments": "{}"}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    assert runner.chat(messages=messages, tools=[STOP], max_tokens=3)[0] == 200


def test_a_template_without_tools_is_said_to_have_none(tmp_path: Any, launch: Launch) -> None:
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
    model = write_tiny_gguf(tmp_path / "plain.gguf", chat_template=plain)
    runner = launch(model).wait_ready()
    assert runner.refusal(CHAT, messages=HI, tools=[STOP]) == ("tools_not_supported", "tools")
    assert runner.chat(tools=[STOP], tool_choice="none", max_tokens=1)[0] == 200


def test_json_mode_answers_with_an_object(runner: Program) -> None:
    for seed in range(3):
        _, answer = runner.chat(response_format={"type": "json_object"}, seed=seed)
        choice = answer["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_schema_is_kept_to(runner: Program) -> None:
    _, answer = runner.chat(response_format=schema_format(PERSON, strict=True))
    data = json.loads(answer["choices"][0]["message"]["content"])
    assert isinstance(data["age"], int)
    assert data["color"] in ("red", "blue")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#"},
        {"type": "string", "pattern": "(" * 40},
        {"type": "spaceship"},
        {"properties": {"a": 5}},
    ],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_a_bad_schema_is_refused_and_the_runner_lives(runner: Program, schema: Any) -> None:
    code, _ = runner.refusal(CHAT, messages=HI, response_format=schema_format(schema))
    assert code == "invalid_schema"
    assert runner.health()["pid"] == runner.process.pid
    assert runner.process.popen.poll() is None
    assert runner.chat(max_tokens=1)[0] == 200


def test_a_bad_schema_of_a_strict_tool_is_refused(runner: Program) -> None:
    bad = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"$ref": "file:///etc"}}}
    for choice in ("required", "auto"):
        assert runner.refusal(CHAT, messages=HI, tools=[bad], tool_choice=choice) == ("invalid_schema", "tools")


def test_a_bad_schema_of_another_tool_leaves_its_arguments_free(runner: Program) -> None:
    bad = {"type": "function", "function": {"name": "f", "parameters": {"$ref": "file:///etc"}}}
    for choice in ("required", "auto"):
        assert runner.chat(tools=[bad, STOP], tool_choice=choice, max_tokens=20)[0] == 200
