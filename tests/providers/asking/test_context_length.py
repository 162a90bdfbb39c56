"""The longest prompt that a model accepts and answers, found with few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from models_app.domain.traffic.routing import Target
from models_app.providers.asking import context_length
from models_app.providers.asking.asking import Answer, Asker
from models_app.providers.asking.context_length import Measured


class Window(Asker):
    """A model with a window of `tokens`; its prompts have `overhead` tokens, and each word `per_word`."""

    def __init__(self, tokens: int, *, per_word: float = 1.0, overhead: int = 5) -> None:
        super().__init__(Target("m", "i", "", frozenset()))
        self.tokens, self.per_word, self.overhead = tokens, per_word, overhead
        self.asked: list[int] = []
        self.failing_above = 10**9

    async def ask(self, path: str, body: Mapping[str, Any], *, seconds: float) -> Answer:
        text = body["messages"][0]["content"] if path == "chat/completions" else body["prompt"]
        tokens = self.overhead + int(self.per_word * len(text.split()))
        self.asked.append(tokens)
        if tokens > self.failing_above:
            return Answer(error="It took too long.", code="timeout")
        if tokens + 1 > self.tokens:
            return Answer(status=400, error="Too long.", code="context_length_exceeded")
        return Answer(status=200, body={"usage": {"prompt_tokens": tokens}})


def measure(window: Window, upper: int, path: str = "chat/completions") -> Measured:
    return asyncio.run(context_length.measure(window, path=path, upper=upper))


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize(("per_word", "overhead"), [(1.0, 5), (1.7, 0), (0.5, 40)])
def test_a_true_claim_is_shown_with_one_long_prompt(path: str, per_word: float, overhead: int) -> None:
    window = Window(2048, per_word=per_word, overhead=overhead)
    found = measure(window, 2048, path)
    assert found.whole
    assert found.tokens is not None
    assert 2048 * 0.98 - 1 <= found.tokens < 2048
    assert len(window.asked) <= 5


@pytest.mark.parametrize("tokens", [300, 5_000, 60_000])
def test_a_false_claim_is_found_out(tokens: int) -> None:
    window = Window(tokens)
    found = measure(window, 131_072)
    assert found.whole
    assert found.tokens is not None
    assert tokens - 131_072 / 128 <= found.tokens < tokens
    assert len(window.asked) <= 10


def test_the_smallest_window_can_be_measured() -> None:
    assert measure(Window(64), 64).tokens in range(60, 64)


def test_what_takes_too_long_is_not_called_the_limit() -> None:
    window = Window(131_072)
    window.failing_above = 10_000
    found = measure(window, 131_072)
    assert not found.whole
    assert found.tokens in range(9_000, 10_001)


def test_a_model_that_is_too_slow_for_any_long_prompt_has_no_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context_length, "BUDGET_SECONDS", 0.0)
    window = Window(131_072)
    window.failing_above = 100
    assert measure(window, 131_072).tokens is None


def test_a_model_that_does_not_answer_is_not_measured() -> None:
    window = Window(131_072)
    window.failing_above = 0
    assert measure(window, 2048) == Measured(None, False, "The length could not be measured: It took too long.")


def test_a_server_that_does_not_count_is_not_measured() -> None:
    window = Window(2048, per_word=0, overhead=7)
    assert measure(window, 2048).tokens is None
