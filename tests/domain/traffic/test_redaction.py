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
    "text",
    [
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
