"""The parsed values of accepted bodies of the OpenAI endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest, UnsupportedParameter
from models_app.domain.traffic.conversation import Tool, ToolChoice
from models_app.domain.traffic.inference import (
    REFUSED,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ResponseFormat,
    check_schema_size,
)
from models_app.domain.traffic.sampling import SamplingFields
from tests.domain.traffic.test_inference import TOOL, USER, chat, completion, embedding
from tests.fakes.openai_checks import CHAT_FIELDS

LONGEST = "x" * 16 * 1024 * 1024
# What clients of OpenAI and of other servers send besides `model` and `messages`.
FIELDS = (CHAT_FIELDS - {"model", "messages"}) | {
    "format",
    "guided_json",
    "ignore_eos",
    "cache_prompt",
    "json_schema",
    "min_p",
    "repeat_penalty",
    "structured_outputs",
    "top_k",
}


def test_it_fills_in_the_defaults() -> None:
    request = chat()
    assert request.sampling.max_tokens is None
    assert request.sampling.temperature == 1.0
    assert (request.n, request.stream, request.include_usage) == (1, False, False)
    assert request.tool_choice.kind == "none"
    assert request.response_format.kind == "text"


def test_null_means_not_given() -> None:
    fields = ("stream", "stream_options", "max_tokens", "temperature", "stop", "seed", "tools", "n")
    assert chat(**dict.fromkeys(fields)) == chat()


@pytest.mark.parametrize("name", sorted({*REFUSED, *FIELDS}))
def test_null_means_not_given_for_each_field(name: str) -> None:
    assert chat(**{name: None}) == chat()


@pytest.mark.parametrize("name", ["name", "tool_calls", "refusal", "function_call", "audio", "annotations", "foreign"])
def test_null_means_not_given_in_messages(name: str) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert chat(messages=[turn | {name: None} for turn in turns]) == chat(messages=turns)


def test_it_ignores_what_changes_nothing_and_what_it_does_not_know() -> None:
    extras = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "x": 1}
    assert chat(**extras) == chat()


def test_it_joins_text_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    request = chat(messages=[{"role": "user", "content": parts}])
    assert request.messages[0]["content"] == "one\ntwo"


def test_it_gives_templates_the_arguments_of_a_call_as_an_object() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    request = chat(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert request.messages[0]["content"] == ""
    assert request.messages[0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


def test_tools_are_offered_unless_the_choice_says_otherwise() -> None:
    assert chat(tools=[TOOL]).tool_choice.kind == "auto"
    assert chat(tools=[TOOL], tool_choice="none").tool_choice.kind == "none"
    named = {"type": "function", "function": {"name": "look_up"}}
    assert chat(tools=[TOOL], tool_choice=named).tool_choice.name == "look_up"


def test_minus_one_as_top_k_means_all_tokens() -> None:
    assert chat(top_k=-1).sampling.top_k == 0


def test_logit_bias_is_by_token_id() -> None:
    assert chat(logit_bias={"15": -100, "7": 2.5}).sampling.logit_bias == {15: -100.0, 7: 2.5}


def test_stop_may_be_one_string_or_several() -> None:
    assert chat(stop="a").sampling.stop == ("a",)
    assert chat(stop=["a", "b"]).sampling.stop == ("a", "b")


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
    ],
)
def test_a_prompt_has_four_forms(prompt: object, prompts: tuple[object, ...]) -> None:
    assert completion(prompt=prompt).prompts == prompts


@pytest.mark.parametrize("fields", [{"suffix": ""}, {"echo": False}, {"best_of": 1}])
def test_completion_extras_may_be_given_with_the_value_that_does_nothing(
    fields: dict[str, Any],
) -> None:
    assert completion(**fields) == completion()


def test_refused_fields_say_that_they_are_not_supported() -> None:
    with pytest.raises(UnsupportedParameter, match="'grammar' is not accepted"):
        chat(grammar="root := x")


def test_embeddings_can_be_asked_for_in_base64() -> None:
    assert embedding(encoding_format="base64", dimensions=8).base64
    assert not embedding().base64


def test_each_field_of_a_chat_is_kept() -> None:
    schema = {"type": "object"}
    found = chat(
        messages=[{"role": "system", "content": "Be short."}, USER],
        temperature=0.5,
        logprobs=True,
        top_logprobs=3,
        n=8,
        stream=True,
        stream_options={"include_usage": True},
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}},
        chat_template_kwargs={"enable_thinking": False},
    )
    assert found == ChatRequest(
        model="m",
        messages=({"role": "system", "content": "Be short."}, USER),
        sampling=SamplingFields(temperature=0.5, top_logprobs=3),
        n=8,
        stream=True,
        include_usage=True,
        continuous_usage=False,
        tools=(Tool("look_up", {"type": "object"}, False, TOOL),),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_schema", schema, True),
        template_options={"enable_thinking": False},
    )


def test_a_chat_has_the_defaults_of_openai() -> None:
    assert chat() == ChatRequest(
        model="m",
        messages=(USER,),
        sampling=SamplingFields(),
        n=1,
        stream=False,
        include_usage=False,
        continuous_usage=False,
        tools=(),
        tool_choice=ToolChoice("none"),
        parallel_tool_calls=True,
        response_format=ResponseFormat("text", {}, False),
        template_options={},
    )
    assert chat(stream=True, stream_options={}).include_usage is False
    assert chat(stream=True, stream_options={"continuous_usage_stats": True}).continuous_usage
    assert chat(n=1).n == 1


def test_each_field_of_a_completion_is_kept() -> None:
    fields = {"prompt": ["a", "b"], "n": 3, "seed": 5, "logprobs": 20, "stream": True}
    assert completion(**fields, stream_options={"include_usage": True}) == CompletionRequest(
        model="m",
        prompts=("a", "b"),
        sampling=SamplingFields(seed=5, top_logprobs=20),
        n=3,
        stream=True,
        include_usage=True,
        echo=False,
    )
    assert completion() == CompletionRequest("m", ("Hi",), SamplingFields(), 1, False, False, False)
    assert completion(echo=True).echo
    assert completion(logprobs=0).sampling.top_logprobs == 0
    assert completion(n=1).n == 1


def test_each_field_of_a_request_for_embeddings_is_kept() -> None:
    assert embedding(input=[[1], [2, 3]], encoding_format="base64", dimensions=1_000_000) == EmbeddingRequest(
        "m", ((1,), (2, 3)), base64=True, dimensions=1_000_000
    )
    assert embedding(encoding_format="float") == EmbeddingRequest("m", ("Hi",), base64=False, dimensions=None)
    assert embedding(dimensions=1).dimensions == 1


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_format_without_a_schema_has_only_its_kind(kind: str) -> None:
    assert chat(response_format={"type": kind}).response_format == ResponseFormat(kind)


@pytest.mark.parametrize(
    ("parse", "fields"),
    [
        (chat, {"model": "m" * 255, "user": "u" * 1024}),
        (completion, {"prompt": ["a"] * 128}),
        (completion, {"prompt": LONGEST}),
        (completion, {"prompt": ["a"] * 16, "n": 8}),
        (completion, {"prompt": [0, 2**31 - 1]}),
        (embedding, {"input": ["a"] * 2048}),
        (chat, {"chat_template_kwargs": {f"a{number}": None for number in range(16)}}),
        (chat, {"chat_template_kwargs": {"a": "b", "c": 1, "d": 0.5, "e": True, "f": None}}),
    ],
)
def test_a_request_is_accepted_up_to_its_bounds(parse: Callable[..., object], fields: dict[str, Any]) -> None:
    parse(**fields)


@pytest.mark.parametrize(
    ("parse", "fields", "param", "message"),
    [
        (chat, {"model": "m" * 256}, "model", "'model' must be a string of at most 255 characters."),
        (chat, {"model": "a\x00"}, "model", "'model' must be the name of a model."),
        (chat, {"user": "u" * 1025}, "user", "'user' must be a string of at most 1,024 characters."),
        (embedding, {"dimensions": 1_000_001}, "dimensions", "'dimensions' must be a whole number from 1 to 1000000."),
        (embedding, {"input": ["a"] * 2049}, "input", "'input' must be a list of 1 to 2,048 items."),
        (embedding, {"input": [2**31]}, "input", "'input' must be text that is not empty, or token ids."),
        (completion, {"prompt": LONGEST + "x"}, "prompt", "'prompt' must be text that is not empty, or token ids."),
        (completion, {"prompt": ["a", [1]]}, "prompt", "'prompt' must be a list of strings or a list of token id lis"),
        (completion, {"prompt": ["a"] * 17, "n": 8}, "n", "'n' times the number of prompts must not exceed 128."),
        (completion, {"logprobs": 21}, "logprobs", "'logprobs' must be a whole number from 0 to 20."),
        (
            chat,
            {"chat_template_kwargs": {f"a{number}": 1 for number in range(17)}},
            "chat_template_kwargs",
            "'chat_template_kwargs' must be an object of at most 16 plain values.",
        ),
        (chat, {"chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs", "'chat_template_kwargs' must be an obj"),
        (chat, {"chat_template_kwargs": {"a": 1, "b": []}}, "chat_template_kwargs", "'chat_template_kwargs' must be"),
        (chat, {"response_format": {"type": "xml"}}, "response_format.type", "'response_format.type' must be one of t"),
        (chat, {"response_format": {}}, "response_format.type", "'response_format.type' must be one of text, json_obj"),
        (
            chat,
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
            "'response_format.json_schema.schema' must be a JSON schema.",
        ),
    ],
)
def test_a_refusal_says_what_is_expected(
    parse: Callable[..., object], fields: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse(**fields)
    assert refusal.value.param == param
    assert refusal.value.message.startswith(message)


def test_a_schema_has_up_to_64_kib_and_32_levels() -> None:
    largest = {"const": "x" * (64 * 1024 - len('{"const":""}'))}
    check_schema_size(largest, "schema")
    deepest: dict[str, Any] = {}
    for _ in range(31):
        deepest = {"items": deepest}
    check_schema_size(deepest, "schema")
    for schema in ({"const": largest["const"] + "x"}, {"items": deepest}):
        with pytest.raises(InvalidRequest) as refusal:
            check_schema_size(schema, "schema")
        assert (refusal.value.code, refusal.value.param) == ("invalid_schema", "schema")
        assert refusal.value.message == "'schema' must have at most 64 KiB and 32 levels."


@pytest.mark.parametrize("fields", [{"suffix": "a"}, {"echo": True, "logprobs": 0}, {"best_of": 2}, {"best_of": "1"}])
def test_other_completion_extras_are_not_supported(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        completion(**fields)
    assert refusal.value.param == next(iter(fields))
