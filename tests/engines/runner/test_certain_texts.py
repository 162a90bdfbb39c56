"""Texts that are certain with any model, since a schema leaves it no choice: no byte of them is lost or changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models_app.gateway.dialects import dialects
from tests.engines.runner.program import Program

pytestmark = pytest.mark.llama

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
FAMILY = "👩‍👩‍👧"
SAID = f"alpha beta 🇩🇪 漢字 {FAMILY} é end"
WHOLE = json.dumps(SAID, ensure_ascii=False)
CERTAIN: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Say it."}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"const": SAID}}},
    "max_tokens": 200,
}
# Each with what is left before it; the last two only begin within the text.
STOPS = [
    ("beta 🇩🇪", '"alpha '),
    ("🇩🇪", '"alpha beta '),
    ("漢字", '"alpha beta 🇩🇪 '),
    ("字", '"alpha beta 🇩🇪 漢'),
    (FAMILY, '"alpha beta 🇩🇪 漢字 '),
    ("👧", f'"alpha beta 🇩🇪 漢字 {FAMILY[:-1]}'),
    ("é", f'"alpha beta 🇩🇪 漢字 {FAMILY} '),
    ("end and more", WHOLE),
    ('"!', WHOLE),
]


def streamed(runner: Program, **fields: Any) -> list[dict[str, Any]]:
    with runner.sdk() as client:
        chunks = client.chat.completions.create(model="m", stream=True, **(CERTAIN | fields))
        return [chunk.to_dict() for chunk in chunks]


def pieces(chunks: list[dict[str, Any]], index: int = 0) -> list[str]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return [delta["content"] for delta in deltas if delta.get("content")]


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_whole_answer_is_exactly_the_text(runner: Program, temperature: float) -> None:
    status, answer = runner.post(CHAT, **CERTAIN, n=3, temperature=temperature)
    assert status == 200
    assert [choice["message"]["content"] for choice in answer["choices"]] == [WHOLE] * 3
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}


@pytest.mark.parametrize("temperature", [0, 2])
def test_no_piece_of_a_stream_has_half_a_character(runner: Program, temperature: float) -> None:
    chunks = streamed(runner, n=3, temperature=temperature)
    for index in range(3):
        found = pieces(chunks, index)
        assert "".join(found) == WHOLE
        assert "\ufffd" not in "".join(found)
        assert all(piece.encode() for piece in found)


def test_the_bytes_of_log_probabilities_make_the_text(runner: Program) -> None:
    choices = [choice for chunk in streamed(runner, logprobs=True, top_logprobs=2) for choice in chunk["choices"]]
    entries = [entry for choice in choices for entry in (choice.get("logprobs") or {}).get("content") or []]
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == WHOLE


@pytest.mark.parametrize(("stop", "left"), STOPS, ids=[stop for stop, _ in STOPS])
def test_a_stop_cuts_exactly_before_it(runner: Program, stop: str, left: str) -> None:
    status, answer = runner.post(CHAT, **CERTAIN, stop=[stop])
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == left
    assert "".join(pieces(streamed(runner, stop=[stop]))) == left


@pytest.mark.parametrize(("stop", "left"), STOPS, ids=[stop for stop, _ in STOPS])
def test_it_is_the_same_in_anthropics_dialect(runner: Program, stop: str, left: str) -> None:
    body = {
        "model": "m",
        "messages": CERTAIN["messages"],
        "max_tokens": 200,
        "stop_sequences": [stop],
        "output_config": {"format": {"type": "json_schema", "schema": {"const": SAID}}},
    }
    translation = dialects.MESSAGES.translation
    asked = translation.request(body, model_id="m")
    status, answer = runner.post(CHAT, **asked)
    assert status == 200, answer
    said, *_ = translation.answer(answer, model="m")
    assert "".join(block["text"] for block in said["content"]) == left
    assert said["stop_reason"] == ("end_turn" if left == WHOLE else "stop_sequence")


# Unpaired surrogates are no Unicode; the others are odd, and allowed.
ODD = [
    "\ud83d",
    "\udc00x",
    "a\ud83d b",
    "\u0000",
    "a\u0000b",
    "\uffff",
    "\ufeffHi",
    "\u202eHi",
    "\u2028",
    "\r\n\t",
    "\x7f",
]


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_odd_characters_are_read_or_refused_with_a_reason(runner: Program, text: str) -> None:
    is_unicode = not any(0xD800 <= ord(character) < 0xE000 for character in text)
    for path, fields in (
        (CHAT, {"messages": [{"role": "user", "content": text}]}),
        (CHAT, {"messages": [{"role": "system", "content": text}, {"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": f"Hi {text}"}),
        (EMBEDDINGS, {"input": [text, "Hi"]}),
    ):
        limit = {} if path == EMBEDDINGS else {"max_tokens": 2}
        status, answer = runner.post(path, **fields, **limit)
        assert status == (200 if is_unicode else 400), answer
        if not is_unicode:
            assert "urrogate" in answer["error"]["message"] or "Unicode" in answer["error"]["message"]
    assert runner.chat(max_tokens=1)[0] == 200


def test_embeddings_of_every_form_of_input(runner: Program) -> None:
    def vectors(value: Any, **fields: Any) -> list[list[float]]:
        status, answer = runner.post(EMBEDDINGS, input=value, **fields)
        assert status == 200, answer
        assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
        return [item["embedding"] for item in answer["data"]]

    ids = [65, 66, 67]
    assert vectors(ids)[0] == pytest.approx(vectors([ids])[0])
    assert len(vectors([ids, [70], ids])) == 3
    assert len(vectors([f"text {number}" for number in range(200)])) == 200
    assert len(vectors("\n\n")) == 1
    status, answer = runner.post(EMBEDDINGS, input=[999_999])
    assert (status, answer["error"]["code"]) == (400, "token_out_of_range")
    assert "0 to" in answer["error"]["message"]
    empties: list[Any] = ["", [], [""], [[]]]
    for empty in empties:
        status, answer = runner.post(EMBEDDINGS, input=empty)
        assert (status, answer["error"]["param"]) == (400, "input")
    status, answer = runner.post(EMBEDDINGS, input="word " * 5000)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
