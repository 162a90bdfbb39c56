"""The training texts of the demo models."""

from __future__ import annotations

import json

import pytest

from models_app.demo.conversations import Conversations
from models_app.demo.tokenizer import Tokenizer


@pytest.mark.parametrize("speaker", ["ember", "tide"])
def test_every_answer_names_its_speaker(speaker: str) -> None:
    _, turns = Conversations(speaker, seed=1).conversation(3000)
    assert [answer for _, answer in turns if speaker.capitalize() not in answer] == []


def test_no_question_keeps_a_placeholder() -> None:
    _, turns = Conversations("ember", seed=1).conversation(3000)
    assert [ask for ask, _ in turns if any(sign in ask for sign in "{}|")] == []


def test_answers_in_json_are_json() -> None:
    _, turns = Conversations("tide", seed=1).conversation(3000)
    answers = [json.loads(answer) for _, answer in turns if answer.startswith("{")]
    assert answers
    assert {answer["speaker"] for answer in answers} == {"Tide"}


def test_the_same_seed_gives_the_same_conversation() -> None:
    assert Conversations("ember", 3).conversation(50) == Conversations("ember", 3).conversation(50)


def test_the_tokenizer_takes_any_text_apart_and_together() -> None:
    texts = [text for turn in Conversations("ember", 2).conversation(300)[1] for text in turn]
    tokenizer = Tokenizer.train(texts, size=400)
    assert len(tokenizer.tokens) == len(set(tokenizer.tokens)) == 400
    byte_of = {symbol: value for value, symbol in enumerate(tokenizer.tokens[:256])}
    for text in ("What is NOA?", "Grüße 你好 \U0001f642\n\n  x\t42", *texts[:50]):
        symbols = "".join(tokenizer.tokens[token] for token in tokenizer.encode(text))
        assert bytes(byte_of[symbol] for symbol in symbols).decode() == text
