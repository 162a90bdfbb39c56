"""What a request can use at most: numbers of every size, and what is set aside for it."""

from __future__ import annotations

import json
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app.domain.catalog.pricing import Usage
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


LONG, USUAL = claims.LONG_ANSWER_TOKENS, claims.USUAL_ANSWER_TOKENS
WORD = b"a" * 21  # seven tokens


@pytest.mark.parametrize(
    ("found", "expected", "reserved", "most"),
    [
        (Claim(), (1, 0), 0, (0, 0)),
        (Claim(raw=WORD), (7, 0), 7, (7, 0)),
        (Claim(raw=WORD, answer=5, choices=2), (7, 5), 12, (7, 5)),
        (Claim(raw=WORD, answer=None), (7, USUAL), 7 + USUAL, (7, LONG)),
        (Claim(raw=WORD, answer=None, choices=3), (7, 3 * USUAL), 7 + 3 * USUAL, (7, 3 * LONG)),
        (Claim({}, WORD, None, 3, 100), (7, 3 * USUAL), 7 + 3 * USUAL, (7, 3 * (LONG + 100))),
        # The answer of a record fits into its column, what is set aside into a counter.
        (Claim(raw=WORD, answer=2**40), (7, 2**31 - 1), 2**40, (7, 2**40)),
        (Claim(raw=WORD, answer=None, choices=2**30), (7, 2**31 - 1), 7 + 2**38, (7, 2**40)),
        # What is expected is estimated by the size alone.
        (Claim(raw=b"." * 12), (4, 0), 12, (12, 0)),
        (Claim(raw=b"a"), (1, 0), 1, (1, 0)),
    ],
)
def test_a_claim_is_read_in_three_ways(
    found: Claim, expected: tuple[int, int], reserved: int, most: tuple[int, int]
) -> None:
    assert found.expected == Usage(*expected)
    assert found.reserved == reserved
    assert found.most == Usage(*most)


def test_what_is_free_is_expected_to_use_nothing() -> None:
    found = Claim(is_free=True)
    assert (found.expected, found.reserved, found.most) == (Usage(), 0, Usage(0, 0))


def test_a_claim_is_for_one_answer_unless_it_says_otherwise() -> None:
    found = Claim()
    assert (found.answer, found.choices, found.thinking, found.is_free) == (0, 1, 0, False)


def test_the_prompt_of_a_claim_is_estimated_once() -> None:
    found = Claim(raw=WORD)
    assert found.prompt == 7
    found.raw = WORD * 2
    assert found.prompt == 7


def test_an_image_is_expected_as_one() -> None:
    body = {"messages": [{"content": [{"image_url": {"url": "data:image/png;base64," + "A" * 9000}}]}]}
    found = claim("chat/completions", **body)
    assert found.expected.prompt == found.prompt == claims.prompt_tokens(body, json.dumps(body).encode())
    assert claims.IMAGE_TOKENS <= found.prompt <= claims.IMAGE_TOKENS + 100


def test_a_body_is_kept_only_for_its_images() -> None:
    assert claim("messages", image="base64").body == {"image": "base64"}
    assert claim("embeddings", image="base64").body == {"image": "base64"}
    assert claim("messages", image="a").body == claim("messages", text="base64").body == {}


@pytest.mark.parametrize(
    ("endpoint", "body", "answer", "choices", "thinking"),
    [
        ("chat/completions", {}, None, 1, 0),
        ("chat/completions", {"n": 3}, None, 3, 0),
        ("chat/completions", {"n": None, "max_tokens": None}, None, 1, 0),
        ("chat/completions", {"best_of": 3, "prompt": ["a", "b"]}, None, 1, 0),
        ("chat/completions", {"max_tokens": 5, "max_completion_tokens": 7}, 7, 1, 0),
        ("chat/completions", {"max_tokens": 7, "max_completion_tokens": 5, "n": 2}, 14, 2, 0),
        ("chat/completions", {"max_output_tokens": 5}, None, 1, 0),
        ("completions", {"n": 2, "best_of": 3}, None, 3, 0),
        ("completions", {"n": 3, "best_of": 2, "max_tokens": 0}, 0, 3, 0),
        ("completions", {"max_completion_tokens": 5}, None, 1, 0),
        ("completions", {"prompt": ["a", "b"], "n": 2, "max_tokens": 5}, 20, 4, 0),
        ("completions", {"prompt": [[1], [2], [3]]}, None, 3, 0),
        ("completions", {"prompt": [1, 2, 3]}, None, 1, 0),
        ("completions", {"prompt": []}, None, 1, 0),
        ("completions", {"prompt": "abc"}, None, 1, 0),
        ("completions", {"prompt": ["a"] * 128, "n": 128, "max_tokens": MOST_TOKENS}, 2**40, 2**14, 0),
        ("responses", {"max_output_tokens": 5, "n": 3}, 5, 1, 0),
        ("responses", {"max_tokens": 5}, None, 1, 0),
        ("messages", {"max_tokens": 5, "thinking": {"budget_tokens": 9}}, 5, 1, 0),
        ("messages", {"thinking": {"budget_tokens": 9}}, None, 1, 9),
        ("messages", {"thinking": {"budget_tokens": 1}}, None, 1, 1),
        ("messages", {"thinking": {"budget_tokens": 0}}, None, 1, 0),
        ("messages", {"thinking": {"budget_tokens": -1}}, None, 1, 0),
        ("messages", {"thinking": {"budget_tokens": 2**40}}, None, 1, MOST_TOKENS),
        ("messages", {"thinking": {"budget_tokens": 9.0}}, None, 1, 0),
        ("messages", {"thinking": {"budget_tokens": True}}, None, 1, 0),
        ("messages", {"thinking": {}}, None, 1, 0),
        ("messages", {"thinking": "much"}, None, 1, 0),
        ("embeddings", {"max_tokens": 5, "n": 2, "input": ["a", "b"]}, 0, 1, 0),
    ],
)
def test_only_the_fields_of_the_endpoint_count(
    endpoint: str, body: dict[str, Any], answer: int | None, choices: int, thinking: int
) -> None:
    found = claim(endpoint, **body)
    assert found.prompt == claims.prompt_tokens(body, json.dumps(body).encode())
    assert (found.answer, found.choices, found.thinking, found.is_free) == (answer, choices, thinking, False)


def test_counting_tokens_is_free() -> None:
    found = claim("messages/count_tokens", max_tokens=5)
    assert (found.prompt, found.answer, found.is_free) == (0, 0, True)


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("seed", 2**63 - 1, True),
        ("seed", -(2**63) + 1, True),
        ("seed", 2**63, False),
        ("seed", -(2**63), False),
        ("max_tokens", 2**31 - 1, True),
        ("max_tokens", 2**31, False),
        ("max_tokens", 0, True),
        ("max_tokens", -1, False),
        ("n", 128, True),
        ("n", 129, False),
        ("best_of", 1, True),
        ("best_of", 0, False),
        ("seed", True, True),
        ("x" * 90, 2.0**63, False),
    ],
)
def test_a_number_has_its_bounds(name: str, value: float, good: bool) -> None:
    if good:
        claim("chat/completions", **{name: value})
        return
    with pytest.raises(InvalidRequest) as caught:
        claim("chat/completions", **{name: value})
    assert caught.value.param == name[:80]
    assert caught.value.message.startswith(f"'{name[:80]}' ")


# The tokens of a text: a third of its bytes, half of those beyond ASCII, and more where words are short or odd.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b"", 0),
        (b"abc", 1),
        (b"abcd", 2),
        (b"a" * 300, 100),
        ("ä".encode(), 1),
        ("ää".encode() + b"abc", 3),
        (b"a b c ", 3),
        (b"a,b;c.", 3),
        (b"\t\n\r ", 4),
        (b"aBaB", 3),  # two borders and two capital letters
        (b"ABCDEF", 3),
        (b"123456", 3),
        (b"a1", 2),
        (b"A1", 2),
        (b"1a", 2),
        (b"1A", 2),
        (b"Ba", 1),
        (b"\x00\x7f", 2),
    ],
)
def test_the_tokens_of_a_text_are_estimated_from_its_bytes(text: bytes, tokens: int) -> None:
    assert claims.tokens_of(text) == tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"", 0.0), (b"abcd", 4 / 3), ("äß".encode(), 2.0), ("a日".encode(), 1 / 3 + 1.5), (b"A" * 300, 100.0)],
)
def test_the_weight_of_a_text_is_that_of_its_size(text: bytes, expected: float) -> None:
    assert claims.weight(text) == pytest.approx(expected)


KINDS = {"abcz": "a", "ABCZ": "A", "0189": "0", " \t\n\r\v\f": " ", "!,./:;@[`{~\x00\x7f": ".", "\x80\xaa\xe9\xff": "?"}


@pytest.mark.parametrize(("characters", "kind"), KINDS.items())
def test_each_byte_has_a_kind(characters: str, kind: str) -> None:
    assert {claims._kind(ord(character)) for character in characters} == {kind}
    assert {chr(claims._KINDS[ord(character)]) for character in characters} == {kind}


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 2**20 + 16, 3 * 2**20 + 7])
def test_a_long_text_is_estimated_from_its_parts(size: int) -> None:
    for unit, tokens in ((b"a", size / 3), (b"1", size / 2), (b".", size)):
        assert claims.tokens_of(unit * size) == ceil(tokens)


def test_the_parts_of_a_long_text_are_spread_over_all_of_it() -> None:
    step = 2**17
    for other in range(16):
        # One sixteenth has more tokens than the others, and of each one part is read.
        text = b"a" * (other * step) + "ä".encode() * (step // 2) + b"a" * ((15 - other) * step)
        assert claims.tokens_of(text) == 15 * step / 3 + step / 2


DATA = "data:image/png;base64,"


@pytest.mark.parametrize(
    ("part", "images"),
    [
        ({"url": DATA + "A" * 3000}, 1),
        ({"image_url": DATA + "A" * 3000}, 1),
        ({"url": DATA + "A" * 3000, "image_url": DATA + "B" * 3000}, 2),
        ({"media_type": "image/png", "encoding": "base64", "data": "A" * 3000}, 1),
        ({"a": [{"url": DATA + "A" * 3000}, {"b": {"url": DATA + "C" * 3000}}]}, 2),
        ({"a": {"url": DATA + "A" * 3000}, "b": []}, 1),
        # The same image twice is two images.
        ({"a": [{"url": DATA + "A" * 3000}, {"url": DATA + "A" * 3000}]}, 2),
        ({"url": "https://host/image.png?base64"}, 0),
        ({"link": DATA + "A" * 3000}, 0),
        ({"url": "data:audio/wav;base64,image" + "A" * 3000}, 0),
        ({"media_type": "audio/wav", "data": "base64 image" + "A" * 3000}, 0),
        ({"media_type": "image/png", "data": ["base64"]}, 0),
        ({"media_type": 5, "data": "base64 image"}, 0),
        ({"url": ["base64 image"]}, 0),
    ],
)
def test_images_are_found_in_the_fields_that_hold_them(part: dict[str, Any], images: int) -> None:
    body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "image, base64"}]}]}
    raw = json.dumps(body).encode()
    found = claims.prompt_tokens(body, raw)
    rest = raw.replace(b"A" * 3000, b"").replace(b"B" * 3000, b"").replace(b"C" * 3000, b"").replace(DATA.encode(), b"")
    expected = max(1, claims.tokens_of(rest)) + images * claims.IMAGE_TOKENS if images else claims.tokens_of(raw)
    assert found == expected


def test_an_empty_body_has_a_token() -> None:
    assert claims.prompt_tokens({}, b"") == 1
