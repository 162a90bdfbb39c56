"""The bounds of the numbers in a request, at both ends, and the values that are kept."""

from __future__ import annotations

import math
from typing import Any

import pytest

from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields
from models_app.domain.traffic.sampling import SamplingFields, chat_logprobs, parse_sampling


def sampling(**body: Any) -> SamplingFields:
    return parse_sampling(Fields(body), top_logprobs=None)


EVERYTHING: dict[str, Any] = {
    "max_tokens": 11,
    "temperature": 0.25,
    "top_p": 0.5,
    "top_k": 40,
    "min_p": 0.125,
    "repeat_penalty": 1.5,
    "presence_penalty": -0.5,
    "frequency_penalty": 0.75,
    "seed": 7,
    "logit_bias": {"5": -1.5},
    "stop": ["a", "b"],
    "ignore_eos": True,
}


def test_each_field_is_read_from_its_own_name() -> None:
    expected = EVERYTHING | {"logit_bias": {5: -1.5}, "stop": ("a", "b"), "top_logprobs": 3}
    assert parse_sampling(Fields(EVERYTHING), top_logprobs=3) == SamplingFields(**expected)


def test_without_fields_the_defaults_of_openai_apply() -> None:
    assert sampling() == SamplingFields()
    assert sampling(**dict.fromkeys(EVERYTHING)) == SamplingFields()
    assert SamplingFields() == SamplingFields(
        max_tokens=None,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        repeat_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        seed=None,
        logit_bias={},
        stop=(),
        top_logprobs=None,
        ignore_eos=False,
    )


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("max_tokens", 1, 2**31 - 1),
        ("max_completion_tokens", 1, 2**31 - 1),
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("top_k", -1, 1_000_000),
        ("min_p", 0.0, 1.0),
        ("repeat_penalty", 0.01, 10.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
        ("seed", -(2**63), 2**63 - 1),
    ],
)
def test_a_number_is_accepted_up_to_its_bounds(name: str, low: float, high: float) -> None:
    field = {"max_completion_tokens": "max_tokens"}.get(name, name)
    kept = {low: getattr(sampling(**{name: low}), field), high: getattr(sampling(**{name: high}), field)}
    assert kept == {low: max(0, low) if name == "top_k" else low, high: high}
    is_whole = isinstance(low, int)
    for value in (low - 1, high + 1) if is_whole else (math.nextafter(low, -9), math.nextafter(high, 99)):
        with pytest.raises(InvalidRequest) as refusal:
            sampling(**{name: value})
        assert refusal.value.param == name


@pytest.mark.parametrize(("top_k", "kept"), [(-1, 0), (0, 0), (1, 1)])
def test_a_top_k_of_zero_or_less_is_all_tokens(top_k: int, kept: int) -> None:
    assert sampling(top_k=top_k).top_k == kept


def test_the_length_has_two_names_and_one_value() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        sampling(max_tokens=5, max_completion_tokens=5)
    assert refusal.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 0}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
    ],
)
def test_the_log_probabilities_of_a_chat_are_one_number(body: dict[str, Any], expected: int | None) -> None:
    assert chat_logprobs(Fields(body)) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"top_logprobs": 0},
        {"logprobs": False, "top_logprobs": 3},
        {"logprobs": True, "top_logprobs": -1},
        {"logprobs": True, "top_logprobs": 21},
    ],
)
def test_top_logprobs_need_logprobs_and_have_bounds(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chat_logprobs(Fields(body))
    assert refusal.value.param == "top_logprobs"


def test_a_bias_is_given_to_at_most_1024_tokens() -> None:
    most = {str(number): 1 for number in range(1024)}
    assert len(sampling(logit_bias=most).logit_bias) == 1024
    with pytest.raises(InvalidRequest, match="at most 1024 tokens") as refusal:
        sampling(logit_bias=most | {"1024": 1})
    assert refusal.value.param == "logit_bias"


def test_a_token_id_and_its_bias_have_bounds() -> None:
    ends = {"0": -100, "2147483647": 100, "0000000007": None}
    assert sampling(logit_bias=ends).logit_bias == {0: -100.0, 2**31 - 1: 100.0, 7: 0.0}
    for key in ("2147483648", "00000000007", "²", "٣", "-1", "", " 1"):
        with pytest.raises(InvalidRequest) as refusal:
            sampling(logit_bias={key: 1})
        assert refusal.value.param == "logit_bias"
    for bias in (-101, 101):
        with pytest.raises(InvalidRequest) as refusal:
            sampling(logit_bias={"7": bias})
        assert refusal.value.param == "logit_bias.7"


@pytest.mark.parametrize("stop", [["a"] * 32, ["x" * 1000], []])
def test_up_to_32_stops_of_1000_characters_are_kept(stop: list[str]) -> None:
    assert sampling(stop=stop).stop == tuple(stop)


@pytest.mark.parametrize("stop", ["x" * 1001, ["a"] * 33, "", ["a", ""], ["a", 1]])
def test_other_stops_are_refused(stop: Any) -> None:
    with pytest.raises(InvalidRequest, match="a string of 1 to 1000 characters or a list of up to 32") as refusal:
        sampling(stop=stop)
    assert refusal.value.param == "stop"
