"""Lists of tools and conversations as agents send them to the Responses API."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from models_app.domain.errors import UnsupportedParameter
from tests.providers.responses.test_translation import CALL, FUNCTION, SCHEMA, TOOL, sent

OTHER = {"type": "function", "name": "other", "parameters": {"type": "object"}}
NAMESPACE = {"type": "namespace", "name": "mcp", "description": "d", "tools": [OTHER]}
# Run by OpenAI, or known to its models only.
FOREIGN: dict[str, dict[str, Any]] = {
    "custom": {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    },
    "web_search": {"type": "web_search"},
    "web_search_preview": {"type": "web_search_preview", "search_context_size": "low"},
    "local_shell": {"type": "local_shell"},
    "file_search": {"type": "file_search", "vector_store_ids": ["v"]},
    "mcp": {"type": "mcp", "server_label": "l", "server_url": "https://example.org"},
    "image_generation": {"type": "image_generation"},
    "code_interpreter": {"type": "code_interpreter", "container": {"type": "auto"}},
    "tool of next year": {"type": "hologram", "anything": [1]},
}
TURN = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_what_can_be_run_is_offered_and_the_rest_left_out(kind: str, choice: str | None) -> None:
    for tools in itertools.permutations([TOOL, FOREIGN[kind], NAMESPACE]):
        offered = sent(tools=list(tools), tool_choice=choice)["tools"]
        assert sorted(tool["function"]["name"] for tool in offered) == ["other", "weather"]
    assert "tools" not in sent(tools=[FOREIGN[kind]], tool_choice=choice)


def test_a_function_is_offered_once() -> None:
    (offered,) = sent(tools=[TOOL, {"type": "namespace", "name": "n", "tools": [TOOL]}])["tools"]
    assert offered == {"type": "function", "function": FUNCTION}
    assert "tools" not in sent(tools=[{"type": "namespace", "name": "n", "tools": []}])


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_tool_that_is_left_out_cannot_be_forced(kind: str) -> None:
    with pytest.raises(UnsupportedParameter):
        sent(tools=[TOOL, FOREIGN[kind]], tool_choice={"type": FOREIGN[kind]["type"]})


def test_calls_with_a_text_and_their_results_are_calls_of_a_function() -> None:
    patch = {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"}
    shell = {"type": "local_shell_call", "call_id": "c3", "action": {"type": "exec", "command": ["ls"]}}
    results = [
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
        {"type": "local_shell_call_output", "call_id": "c3", "output": "a.txt"},
    ]
    _, asked, *answered = sent(input=[TURN, CALL, patch, shell, *results])["messages"]
    functions = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in asked["tool_calls"]]
    assert [(place, name) for place, name, _ in functions] == [
        ("c1", "weather"),
        ("c2", "apply_patch"),
        ("c3", "local_shell"),
    ]
    assert json.loads(functions[1][2]) == {"input": "*** Begin"}
    assert json.loads(functions[2][2]) == {"type": "exec", "command": ["ls"]}
    assert [(turn["role"], turn["tool_call_id"], turn["content"]) for turn in answered] == [
        ("tool", "c2", "ok"),
        ("tool", "c3", "a.txt"),
    ]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "abc"},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "x"}},
        {"type": "file_search_call", "id": "f", "queries": [], "results": None, "status": "completed"},
        {"type": "mcp_list_tools", "id": "m", "server_label": "l", "tools": []},
    ],
    ids=lambda item: str(item["type"]),
)
def test_what_openai_did_by_itself_is_left_out(item: dict[str, Any]) -> None:
    last = {"role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    found = sent(input=[TURN, item, last])["messages"]
    assert [(turn["role"], turn["content"]) for turn in found] == [("user", "Hello"), ("assistant", "Done.")]


def test_settings_that_change_nothing_here_are_taken() -> None:
    plain = sent()
    harmless: dict[str, Any] = {
        "truncation": "auto",
        "text": {},
        "instructions": "",
        "service_tier": "auto",
        "tools": [],
        "reasoning": {},
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "store": False,
        "prompt_cache_key": "k",
        "client_metadata": {"a": "b"},
    }
    for name, value in harmless.items():
        assert sent(**{name: value}) == plain, name
        assert sent(**{name: None}) == plain, name
    assert sent(**harmless) == plain


def test_a_schema_of_a_namespace_is_bounded_too() -> None:
    large = {**OTHER, "parameters": {**SCHEMA, "description": "x" * 70_000}}
    with pytest.raises(Exception, match=r"tools\[0\].tools\[0\].parameters"):
        sent(tools=[{**NAMESPACE, "tools": [large]}])
