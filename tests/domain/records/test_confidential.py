"""The data of a request that can be recorded."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from models_app.domain.records.confidential import (
    LEFT_OUT,
    MAX_BYTES,
    for_record,
    storable,
    without_secrets,
)


@pytest.mark.parametrize(
    "name",
    [
        "secret",
        "client_secret",
        "api_key",
        "apiKey",
        "API-KEY",
        "X-Api-Key",
        "password",
        "passwd",
        "passphrase",
        "token",
        "access_token",
        "accessToken",
        "Authorization",
        "credentials",
        "private_key",
        "cookie",
        "pwd",
    ],
)
@pytest.mark.parametrize("value", ["x", 7, ["x"], {"a": "x"}])
def test_what_is_named_as_a_secret_is_left_out_at_any_depth(name: str, value: Any) -> None:
    assert without_secrets({name: value}) == {name: LEFT_OUT}
    assert without_secrets({"a": [{"b": {name: value}}]}) == {"a": [{"b": {name: LEFT_OUT}}]}


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 7},
        {"key": "llama.cpp:a"},
        {"secret_env": "OPENAI_API_KEY"},
        {"secret_set": True},
        {"has_secret": True},
        {"secret": None},
        {"api_key": ""},
        {"key_id": "0123456789ab"},
        {"keys": ["openai:gpt-4o"]},
        {"tokens": 3},
        {"context_tokens": 8192},
        {"url": "https://example.org/a@b"},
        {"text": "the bearer of bad news"},
    ],
)
def test_what_only_sounds_like_one_stays(value: dict[str, Any]) -> None:
    if "text" not in value:
        assert without_secrets(value) == value


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("noa_0123456789ab_SECRET-secret_secret", "SECRET"),
        ("use sk-proj-SECRETSECRET0 here", "SECRET"),
        ("Authorization: Bearer SECRET", "SECRET"),
        ("https://user:SECRET@example.org/v1", "SECRET"),
        ("https://example.org/?key=SECRET&a=1", "SECRET"),
        ("https://example.org/?a=1&token=SECRET", "SECRET"),
    ],
)
def test_what_looks_like_a_secret_is_left_out_wherever_it_stands(text: str, secret: str) -> None:
    for value in (text, [text], {"a": text}, {text: "a"}):
        assert secret not in json.dumps(without_secrets(value))


def test_a_record_is_small() -> None:
    kept = for_record({"a": "x" * 10_000, "b": list(range(10))})
    assert kept["a"].endswith("…")
    assert kept["b"] == list(range(10))
    many = for_record({f"name {number}": "x" * 400 for number in range(1000)})
    assert (many["left_out"], len(many["names"])) == ("too large", 50)
    assert len(json.dumps(many)) < MAX_BYTES


def test_every_database_takes_what_is_left() -> None:
    assert storable("a\0b\ud800c") == "a\ufffdb?c"
    assert for_record({"a\0": ["b\ud800"], "c": None}) == {"a\ufffd": ["b?"], "c": None}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 500 + "…"),
        (1.5, 1.5),
        (True, True),
        ((1, "a"), [1, "a"]),
        (Decimal("1.50"), "1.50"),
        ({1: {"b": ["x" * 501]}}, {"1": {"b": ["x" * 500 + "…"]}}),
        ({"n" * 501: 1}, {"n" * 500: 1}),
    ],
)
def test_what_is_recorded_is_short_and_json(given: Any, kept: Any) -> None:
    assert for_record({"a": given}) == {"a": kept}


def test_arguments_that_are_too_large_leave_their_size_and_names() -> None:
    def of_size(size: int) -> dict[str, Any]:
        made = {"a": ["x" * 500] * 7, "b" * 150: ""}
        return made | {"b" * 150: "y" * (size - len(json.dumps(made)))}

    assert for_record(of_size(MAX_BYTES)) == of_size(MAX_BYTES)
    assert for_record(of_size(MAX_BYTES + 1)) == {
        "left_out": "too large",
        "bytes": MAX_BYTES + 1,
        "names": ["a", "b" * 100],
    }


@pytest.mark.parametrize("value", [None, "", [], {}, True, False])
def test_the_presence_of_a_secret_is_no_secret(value: Any) -> None:
    assert without_secrets({"api_key": value}) == {"api_key": value}


@pytest.mark.parametrize("value", [0, 1, "x", ["x"], {"a": 1}, 0.0])
def test_any_other_value_of_a_secret_is_one(value: Any) -> None:
    assert without_secrets({"API_KEY": value}) == {"API_KEY": LEFT_OUT}


@pytest.mark.parametrize("text", ["", "a", "é", "😀", "\x01"])
def test_a_text_that_a_database_accepts_stays_as_it_is(text: str) -> None:
    assert storable(text) == text
