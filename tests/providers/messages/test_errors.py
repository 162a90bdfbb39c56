"""Errors in the words that Anthropic's clients know."""

from __future__ import annotations

import pytest

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest
from models_app.providers.messages.errors import anthropic_error

OPENAI = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (OPENAI, "prompt is too long: 9001 tokens > 8192 maximum"),
        (
            "This model's maximum context length is 2048 tokens. However, 'messages' has 5000 tokens. Shorten",
            "prompt is too long: 5000 tokens > 2048 maximum",
        ),
        (
            "This model's maximum context length is 2048 tokens. However, the text of 150,050 bytes has more than "
            "4,096 tokens.",
            "prompt is too long: 4096 tokens > 2048 maximum",
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1000 in the "
            "messages, 4000 in the completion).",
            "input length and `max_tokens` exceed context limit: 1000 + 4000 > 4096, decrease input length or "
            "`max_tokens` and try again",
        ),
        (
            "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens (5000 in the "
            "messages, 4000 in the completion).",
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        ("Too long.", "prompt is too long: Too long."),
    ],
)
def test_an_overflow_has_the_words_of_anthropic(message: str, words: str) -> None:
    error = anthropic_error(ContextLengthExceeded(message))["error"]
    assert (error["type"], error["message"]) == ("invalid_request_error", words)


def test_other_errors_keep_their_words() -> None:
    assert anthropic_error(InvalidRequest(OPENAI))["error"]["message"] == OPENAI
