"""Credentials are removed from displayed text; everything else stays readable."""

from __future__ import annotations

import pytest

from models_app.domain.traffic.redaction import redacted


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123def456",
        "sk-ab****************7xyz",
        "sk-ant-api03-xyz987",
        "gsk_abcdefgh",
        "hf_abcdefgh",
        "noa_0123456789ab_secret-part",
        "AIzaSyA-0123456789abcdefghijklmnopqrstu",
        "AKIAIOSFODNN7EXAMPLE",
        "nvapi-abcdefgh123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "Basic dXNlcjpwYXNzd29yZA==",
    ],
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    assert redacted(f"Incorrect API key provided: {secret}.") in (
        "Incorrect API key provided: [secret].",
        "Incorrect API key provided: [secret]",
    )


def test_the_secret_itself_is_taken_out_whatever_it_looks_like() -> None:
    assert redacted("hunter2 is wrong", secret="hunter2") == "[secret] is wrong"
    assert "abc" not in redacted("Authorization: Bearer abc")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://user:pa55@host/v1: no", "at https://[secret]@host/v1: no"),
        ("at postgres://user:p@a@host/x", "at postgres://[secret]@host/x"),
        ("POST https://token@host", "POST https://[secret]@host"),
        ("GET https://host/v1?key=abc123&x=1", "GET https://host/v1?key=[secret]&x=1"),
        ("https://host/?x=1&sig=abc%2F", "https://host/?x=1&sig=[secret]"),
        ('headers: {"x-api-key": "abc123"}', 'headers: {"x-api-key": "[secret]"}'),
        ("api_key=abc123, next", "api_key=[secret], next"),
        ("password=abc123", "password=[secret]"),
        ("https://host/a@b is not found", "https://host/a@b is not found"),
        ("mail a@b.example", "mail a@b.example"),
    ],
)
def test_credentials_in_addresses_and_fields_are_taken_out(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Basic models do not support tools",
        "the password is wrong: try another",
        "The parameter max_tokens: 5 is too small",
        "llama.cpp:noa-demo-ember is not loaded",
        "model key-value-7b",
        "task-oriented",
        "a key_not_found",
    ],
)
def test_names_stay(text: str) -> None:
    assert redacted(text) == text


def test_a_text_is_one_line_and_bounded() -> None:
    assert redacted("a\n\x1b[31m  b\0c") == "a [31m b c"
    assert len(redacted("x" * 10_000)) == 500


def test_the_length_is_that_of_the_result() -> None:
    assert redacted("X" * 499) == "X" * 499
    assert redacted("x" * 501) == "x" * 500
    assert redacted("x" * 30, longest=7) == "x" * 7
    # Four times the length is read: what is removed or joined does not make it longer.
    assert redacted("  " * 13 + "ab" + "c" * 9, longest=7) == "ab"


def test_an_empty_secret_is_no_secret() -> None:
    assert redacted("abc", secret="") == "abc"
    assert redacted("a secret, the secret", secret="secret") == "a [secret], the [secret]"
