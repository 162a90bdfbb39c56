"""The parsed values of accepted bodies of the OpenAI endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import UnsupportedParameter
from tests.domain.traffic.test_inference import TOOL, chat, completion, embedding


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
