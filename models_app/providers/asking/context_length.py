"""Measures the longest prompt that a model accepts and answers. The quality of the answer is not measured."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from models_app.providers.asking.asking import Answer, Asker

# For the whole measurement: a large prompt on a slow machine takes minutes, and requests wait for the model meanwhile.
BUDGET_SECONDS = 180.0
# Room for the answer: with so few tokens, no server refuses a prompt because its answer would not fit.
_MAX_TOKENS = 1
# Each step halves the uncertainty: after this many it is 1/256 of the window.
_STEPS = 8
_CLOSE = 0.98
# No prompt worth measuring is answered in less.
_LEAST_SECONDS = 2.0
_WORD = " and"
# Two short prompts show the tokens per word; the smallest window that can be loaded holds both.
_FEW, _MORE = 4, 24


@dataclass(frozen=True, slots=True)
class Measured:
    """tokens  of the longest prompt that was answered; None when no long one was
    whole   whether the limit was found: False when longer prompts were only too slow
    """

    tokens: int | None
    whole: bool
    detail: str


class _Measurement:
    """Assumes that tokens grow linearly with words: a prompt repeats one word."""

    def __init__(self, ask: Asker, path: str, upper: int) -> None:
        self._ask, self._path, self._upper = ask, path, upper
        self._ends = monotonic() + BUDGET_SECONDS
        self._per_word, self._overhead = 1.0, 0.0
        self.best = 0
        self.last = Answer()

    async def calibrate(self) -> bool:
        """Measures the tokens per word. False when the model does not answer, or does not report counts."""
        counts = []
        for words in (_FEW, _MORE):
            if not await self.accepts(words):
                return False
            counts.append(self.last.tokens("prompt_tokens") or 0)
        self._per_word = (counts[1] - counts[0]) / (_MORE - _FEW)
        self._overhead = counts[0] - _FEW * self._per_word
        return self._per_word > 0

    async def accepts(self, words: int) -> bool:
        prompt = "Once" + _WORD * words
        body: dict[str, Any] = {"max_tokens": _MAX_TOKENS, "temperature": 0}
        if self._path == "chat/completions":
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        # Half of the remaining time: a prompt that takes too long leaves time for a shorter one.
        seconds = max(_LEAST_SECONDS, self._left() / 2)
        self.last = await self._ask.ask(self._path, body, seconds=seconds)
        if self.last.status != 200 or self.last.error:
            return False
        self.best = max(self.best, self.last.tokens("prompt_tokens") or 0)
        return True

    async def search(self) -> Measured:
        """Searches from the advertised window downwards: if that is correct, one request is enough."""
        short, low, high = self.best, self.best, self._upper
        target, in_time = high - _MAX_TOKENS, True
        for _ in range(_STEPS):
            if await self.accepts(int((target - self._overhead) / self._per_word)):
                low = self.best
            elif self.last.refused or self.last.code == "timeout":
                high = target
                in_time = in_time and self.last.refused
            else:
                return Measured(None, False, f"The length could not be measured: {self.last.error}")
            if low >= high * _CLOSE - _MAX_TOKENS or self._left() < _LEAST_SECONDS:
                break
            target = (low + high) // 2
        return self._result(short, in_time)

    def _result(self, short: int, in_time: bool) -> Measured:
        if in_time:
            detail = f"A prompt of {self.best} tokens was accepted and answered."
            return Measured(self.best, True, detail)
        if self.best == short:
            return Measured(None, False, "No long prompt was answered in time.")
        detail = f"A prompt of {self.best} tokens was answered in time; a longer one was not."
        return Measured(self.best, False, detail)

    def _left(self) -> float:
        return self._ends - monotonic()


async def measure(ask: Asker, *, path: str, upper: int) -> Measured:
    """`path` is `chat/completions` or `completions`; `upper` the advertised context window in tokens."""
    measurement = _Measurement(ask, path, upper)
    if not await measurement.calibrate():
        why = measurement.last.error or "its answers do not count tokens"
        return Measured(None, False, f"The length could not be measured: {why}")
    return await measurement.search()
