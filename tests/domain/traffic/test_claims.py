"""What a request can use at most: numbers of every size, and what is set aside for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.errors import InvalidRequest
from models_app.domain.traffic import claims
from models_app.domain.traffic.claims import MOST_TOKENS, Claim, claim_of

ENDPOINTS = ("chat/completions", "completions", "embeddings", "responses", "messages", "messages/count_tokens")
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COUNTS = ("n", "best_of")
OTHERS = ("seed", "top_k", "temperature", "dimensions", "logprobs", "min_tokens", "max_tool_calls", "anything")
# Raw JSON, so that numbers keep the form in which a client sends them.
NEVER = ("18446744073709551616", "9223372036854775808", "18446744073709551615", "1e308", "-1e308", "1e19")
NOT_A_LENGTH = ("2147483648", "9223372036854775807", "-1", "-9223372036854775808", "1.5", "5.0", '"5"', "true", "[]")


def claim(endpoint: str, **body: Any) -> Claim:
    raw = json.dumps(body).encode()
    return claim_of(endpoint, body, raw)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", (*LENGTHS, *COUNTS, *OTHERS))
@pytest.mark.parametrize("value", NEVER)
def test_a_number_of_no_server_is_refused_in_every_field(endpoint: str, name: str, value: str) -> None:
    raw = f'{{"{name}": {value}}}'.encode()
    with pytest.raises(InvalidRequest) as caught:
        claim_of(endpoint, json.loads(raw), raw)
    assert caught.value.param == name


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", (*LENGTHS, *COUNTS))
@pytest.mark.parametrize("value", (*NOT_A_LENGTH, "129e9"))
def test_a_length_or_a_count_is_a_whole_number_in_range(endpoint: str, name: str, value: str) -> None:
    raw = f'{{"{name}": {value}}}'.encode()
    with pytest.raises(InvalidRequest) as caught:
        claim_of(endpoint, json.loads(raw), raw)
    assert caught.value.param == name


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, 129])
def test_the_number_of_answers_is_bounded(name: str, value: int) -> None:
    with pytest.raises(InvalidRequest):
        claim("completions", **{name: value})


BODIES = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(0, MOST_TOKENS),
        "max_completion_tokens": st.integers(0, MOST_TOKENS),
        "max_output_tokens": st.integers(0, MOST_TOKENS),
        "n": st.integers(1, 128),
        "best_of": st.integers(1, 128),
        "prompt": st.one_of(
            st.text(max_size=50),
            st.lists(st.text(max_size=20), min_size=1, max_size=9),
            st.lists(st.integers(0, 200_000), min_size=1, max_size=50),
            st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=20), min_size=1, max_size=9),
        ),
        "thinking": st.fixed_dictionaries({"budget_tokens": st.integers(-5, 2**70)}),
    },
)


def lengths_read(endpoint: str, body: dict[str, Any]) -> int | None:
    """The length of one answer by the fields that this endpoint's servers read."""
    read = {
        "chat/completions": ("max_completion_tokens", "max_tokens"),
        "completions": ("max_tokens",),
        "responses": ("max_output_tokens",),
        "messages": ("max_tokens",),
    }.get(endpoint, ())
    return max((body[name] for name in read if name in body), default=None)


def sequences(endpoint: str, body: dict[str, Any]) -> int:
    if endpoint == "chat/completions":
        return int(body.get("n", 1))
    if endpoint != "completions":
        return 1
    prompt = body.get("prompt", "")
    prompts = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], str | list) else 1
    return int(max(body.get("n", 1), body.get("best_of", 1))) * prompts


@given(st.sampled_from(ENDPOINTS), BODIES)
def test_what_is_set_aside_is_no_less_than_what_the_request_allows(endpoint: str, body: dict[str, Any]) -> None:
    found = claim(endpoint, **body)
    if endpoint == "messages/count_tokens":
        assert (found.is_free, found.reserved, found.most.completion) == (True, 0, 0)
        return
    length = lengths_read(endpoint, body)
    ids = sum(len(item) for item in _id_lists(body.get("prompt")))
    assert found.prompt >= max(1, ids, len(json.dumps(body)) // 4)
    if endpoint == "embeddings":
        assert found.reserved == found.prompt
    elif length is None:
        many = sequences(endpoint, body)
        assert found.reserved == found.prompt + many * claims.USUAL_ANSWER_TOKENS
        assert (found.most.completion or 0) >= many * claims.LONG_ANSWER_TOKENS
    else:
        allowed = min(length * sequences(endpoint, body), 2**40)
        assert found.reserved >= allowed
        assert found.most.completion == allowed
    # Nothing that a store of counters could not hold.
    assert found.reserved <= 2**40
    assert (found.most.prompt or 0) + (found.most.completion or 0) < 2**53


def _id_lists(prompt: Any) -> list[list[int]]:
    if not isinstance(prompt, list) or isinstance(prompt[0], str):
        return []
    return prompt if isinstance(prompt[0], list) else [prompt]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("word " * 1000, 1000),
        ("a " * 1000, 1000),
        ("if (x) { return y; }\n" * 100, 1000),
        ("日本語の文章です。" * 100, 900),
        ("Ünïcödé wörds " * 100, 600),
    ],
)
def test_the_tokens_of_a_text_are_not_underestimated(text: str, tokens: int) -> None:
    for raw in (json.dumps({"prompt": text}).encode(), json.dumps({"prompt": text}, ensure_ascii=False).encode()):
        assert tokens <= claims.prompt_tokens({"prompt": text}, raw) <= 8 * tokens


@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}},
        {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 900_000},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 900_000}},
    ],
    ids=["chat", "responses", "messages"],
)
def test_an_image_counts_as_one_whatever_its_size(image: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]}
    found = claims.prompt_tokens(body, json.dumps(body).encode())
    assert claims.IMAGE_TOKENS <= found <= claims.IMAGE_TOKENS + 200


def test_a_text_that_looks_like_an_image_is_a_text() -> None:
    body = {"messages": [{"role": "user", "content": "data:image/png;base64," + "A" * 900_000}]}
    assert claims.prompt_tokens(body, json.dumps(body).encode()) >= 300_000
