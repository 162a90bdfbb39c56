"""Digests of single requests: what is left out, and which values are the same."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import digests
from models_app.domain.traffic.digests import CHAT_PATH, digest

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> str:
    return digest(CHAT_PATH, {"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields)


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": value}}}


def test_a_digest_is_a_sha256_of_the_path_and_the_body() -> None:
    body = {"model": "m", "prompt": "x"}
    assert len(digest(COMPLETIONS, body)) == len(bytes.fromhex(digest(COMPLETIONS, body))) * 2 == 64
    assert digest(COMPLETIONS, body) != digest(EMBEDDINGS, {"model": "m", "input": "x"})


def test_bytes_that_cannot_be_parsed_have_a_digest_of_their_own() -> None:
    assert digests.of_bytes("/v1/x", b"{") == hashlib.sha256(b"/v1/x\n\n{").hexdigest()
    assert digests.of_bytes("/v1/x", b"{") != digests.of_bytes("/v1/y", b"{")


def test_the_name_of_the_model_and_the_form_of_the_answer_are_left_out() -> None:
    same = {chat(), chat(model="n"), chat(stream=True), chat(stream=True, stream_options={"include_usage": True})}
    assert len(same) == 1
    plain = digest(EMBEDDINGS, {"model": "m", "input": "x"})
    assert digest(EMBEDDINGS, {"model": "n", "input": "x", "encoding_format": "base64"}) == plain
    assert digest(EMBEDDINGS, {"model": "m", "input": "x", "dimensions": 8}) != plain


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": "y"}]},
        {"temperature": 0.5},
        {"n": 2},
        {"logprobs": True},
        {"tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"chat_template_kwargs": {"a": 1}},
    ],
)
def test_what_is_computed_is_in_the_digest(fields: dict[str, Any]) -> None:
    assert chat(**fields) != chat()


def test_tools_that_cannot_be_called_change_only_a_prompt() -> None:
    offered = {"tools": [TOOL]}
    assert chat(**offered, tool_choice="none") == chat()
    assert chat(**offered, tool_choice="none", parallel_tool_calls=False) == chat(parallel_tool_calls=False) == chat()
    different = {
        chat(**offered),
        chat(**offered, tool_choice="required"),
        chat(**offered, tool_choice={"type": "function", "function": {"name": "f"}}),
        chat(**offered, parallel_tool_calls=False),
    }
    assert len(different) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0, -0.0), (2**53 - 1, float(2**53 - 1)), ({"a": 1, "b": 2.0}, {"b": 2, "a": 1.0}), ([1.0], [1])],
)
def test_spellings_of_one_number_have_one_digest(one: Any, other: Any) -> None:
    assert chat(response_format=schema(one)) == chat(response_format=schema(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.5),
        (1, "1"),
        (True, "true"),
        (None, 0),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        (2**53, float(2**53)),
        ([], {}),
    ],
)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    assert chat(response_format=schema(one)) != chat(response_format=schema(other))


@pytest.mark.parametrize("path", [CHAT_PATH, COMPLETIONS, EMBEDDINGS])
def test_a_body_without_a_model_has_no_digest(path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        digest(path, {})
    assert refusal.value.param == "model"
