"""Digests of requests: equal exactly when the parsed requests compute the same."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import inference
from models_app.domain.traffic.digests import CHAT_PATH, digest

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
# Fields that the parser reads, with values that it accepts.
SAMPLING: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": st.integers(1, 5000),
    "temperature": st.sampled_from([0, 0.5, 1, 2]),
    "top_p": st.sampled_from([0.1, 1]),
    "top_k": st.integers(1, 100),
    "min_p": st.sampled_from([0, 0.05]),
    "seed": st.integers(0, 2**31),
    "presence_penalty": st.sampled_from([-1, 0, 1.5]),
    "stop": st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4),
    "n": st.integers(1, 8),
    "ignore_eos": st.booleans(),
    "cache_prompt": st.booleans(),
    "logit_bias": st.dictionaries(st.integers(0, 50).map(str), st.sampled_from([-100, 0, 2.5]), max_size=3),
}
SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "string", "maxLength": 9}, {"enum": ["a", 1]}]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, min_size=1).map(
        lambda found: {"type": "object", "properties": found, "required": sorted(found)}
    ),
    max_leaves=4,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": st.text(max_size=8)}),
    min_size=1,
    max_size=3,
)
# Never read, or read for the form of the answer only.
BOOKKEEPING: dict[str, st.SearchStrategy[Any]] = {
    "user": st.text(max_size=10),
    "store": st.booleans(),
    "metadata": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    "safety_identifier": st.text(max_size=10),
    "prompt_cache_key": st.text(max_size=10),
    "service_tier": st.just("auto"),
    "stream": st.booleans(),
    "unknown": st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)),
    "model": st.sampled_from(["current", "llama.cpp:m"]),
}
DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1,
    "top_k": 0,
    "min_p": 0.0,
    "presence_penalty": 0,
    "frequency_penalty": -0.0,
    "repeat_penalty": 1,
    "n": 1,
    "ignore_eos": False,
    "cache_prompt": True,
    "stop": None,
    "seed": None,
    "logit_bias": {},
}


def response_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = draw(st.fixed_dictionaries({"messages": MESSAGES}, optional=SAMPLING))
    if draw(st.booleans()):
        body["response_format"] = response_format(draw(SCHEMAS))
    if draw(st.booleans()):
        function = {"name": "f", "parameters": draw(SCHEMAS)}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = draw(st.sampled_from(["auto", "required", "none"]))
    return {"model": "m", **body}


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    prompt = draw(st.text(min_size=1, max_size=5) | st.lists(st.integers(0, 99), min_size=1, max_size=4))
    return {"model": "m", "prompt": prompt, **draw(st.fixed_dictionaries({}, optional=SAMPLING))}


def respelled(value: Any, draw: Any) -> Any:
    """The same JSON value with other spellings: order of fields, whole numbers as floats."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: respelled(value[name], draw) for name in names}
    if isinstance(value, list):
        return [respelled(item, draw) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def rewritten(body: dict[str, Any], draw: Any) -> dict[str, Any]:
    """A body that the parser treats as equal."""
    found = respelled(body, draw)
    for name, values in BOOKKEEPING.items():
        if draw(st.booleans()):
            found[name] = draw(values)
    for name, default in DEFAULTS.items():
        if name not in found and draw(st.booleans()):
            found[name] = draw(st.sampled_from([default, None]))
    for name in ("temperature", "top_p", "min_p", "presence_penalty"):
        if isinstance(found.get(name), int) and draw(st.booleans()):
            found[name] = float(found[name])
    if draw(st.booleans()):
        _in_other_forms(found)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _in_other_forms(body: dict[str, Any]) -> None:
    if "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    for message in body.get("messages", ()):
        message["content"] = [{"type": "text", "text": message["content"]}]
    if isinstance(body.get("prompt"), list):
        body["prompt"] = [body["prompt"]]


@given(st.data())
def test_a_rewritten_chat_has_the_same_digest(data: st.DataObject) -> None:
    body = data.draw(chats())
    assert digest(CHAT_PATH, rewritten(body, data.draw)) == digest(CHAT_PATH, body)


@given(st.data())
def test_a_rewritten_completion_has_the_same_digest(data: st.DataObject) -> None:
    body = data.draw(completions())
    assert digest(COMPLETIONS, rewritten(body, data.draw)) == digest(COMPLETIONS, body)


def computed(path: str, body: dict[str, Any]) -> Any:
    """The parsed request without what only names it, or forms its answer."""
    parsed: Any = inference.parse_chat(body) if path == CHAT_PATH else inference.parse_completion(body)
    parsed = dataclasses.replace(parsed, model="", stream=False, include_usage=False)
    if path == CHAT_PATH and parsed.tool_choice.kind == "none":
        parsed = dataclasses.replace(parsed, tools=(), parallel_tool_calls=True)
    return parsed


@given(chats(), chats())
def test_digests_of_chats_are_equal_exactly_when_the_parsed_requests_are(one: Any, other: Any) -> None:
    same = computed(CHAT_PATH, one) == computed(CHAT_PATH, other)
    assert (digest(CHAT_PATH, one) == digest(CHAT_PATH, other)) == same


@given(completions(), completions())
def test_digests_of_completions_are_equal_exactly_when_the_parsed_requests_are(one: Any, other: Any) -> None:
    same = computed(COMPLETIONS, one) == computed(COMPLETIONS, other)
    assert (digest(COMPLETIONS, one) == digest(COMPLETIONS, other)) == same


@given(st.text(min_size=1), st.text(min_size=1))
def test_other_prompts_have_other_digests(one: str, other: str) -> None:
    for path, name in ((COMPLETIONS, "prompt"), (EMBEDDINGS, "input")):
        found = [digest(path, {"model": "m", name: text}) for text in (one, other)]
        assert (found[0] == found[1]) == (one == other)


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.5), ("max_tokens", 7), ("n", 2), ("stop", "a")])
def test_a_field_that_is_computed_changes_the_digest(name: str, value: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert digest(CHAT_PATH, body) != digest(CHAT_PATH, {**body, name: value})


def test_a_body_that_the_runner_refuses_has_no_digest() -> None:
    with pytest.raises(InvalidRequest):
        digest(CHAT_PATH, {"model": "m", "messages": []})
