"""What one request used: the counts of its server, or an estimate that is too high rather than too low.

A server states its counts at the end of its answer only. A client that leaves before, a cut, a timeout or a provider
without counts must not make a request free, so that whatever is missing is estimated and the record is marked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from math import ceil
from typing import Any

import orjson

from models_app.domain.catalog.pricing import Price, Usage, cost
from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic.claims import USUAL_ANSWER_TOKENS, Claim, weight

# Faster than models that reason before their first visible token.
_TOKENS_PER_SECOND = 100
# A server generates on until it notices that its connection was closed.
_NOTICE_SECONDS = 1.0
_LEAST_UNSEEN = 8
# Keys of an answer that hold no generated text.
_NO_TEXT = frozenset({"id", "type", "role", "logprobs", "signature", "finish_reason", "stop_reason"})


class Produced:
    """The text of an answer, counted while it passes. `pieces` are events with text, at least a token each."""

    __slots__ = ("_spaces", "_weight", "pieces")

    def __init__(self) -> None:
        self.pieces = 0
        self._weight = 0.0
        self._spaces = 0

    @property
    def tokens(self) -> int:
        return max(self.pieces, ceil(self._weight), self._spaces)

    def add(self, value: object) -> None:
        """Counts the texts of one event or of a whole answer: of its choices, message or deltas."""
        self.add_text("".join(_texts(value)))

    def add_text(self, text: str) -> None:
        if text:
            self.pieces += 1
            self._weight += weight(text.encode("utf-8", "surrogatepass"))
            self._spaces += text.count(" ")

    def add_unread(self, size: int) -> None:
        """Counts so many bytes of text that is not read."""
        self.pieces += 1
        self._weight += weight(b" ") * size


class Meter:
    """Follows the attempts of one request. `begin` before each, `sent` when a server has received it, `free` when that
    server did no work on it; `settle` writes the sum into the record.
    """

    __slots__ = (
        "_first_at",
        "_is_finished",
        "_is_open",
        "_lost",
        "_price",
        "_sent_at",
        "_shows",
        "_usage",
        "claim",
        "is_runner",
        "produced",
        "was_cut",
    )

    def __init__(self) -> None:
        self.claim = Claim()
        # Of the present attempt: the counts of its server, and whether its answer is whole.
        self._usage: Usage | None = None
        self._is_finished = False
        # The server closed the connection without an answer: it does not work on.
        self.was_cut = False
        self.produced = Produced()
        # A local model serves it.
        self.is_runner = False
        self._price: Price | None = None
        self._shows = self._is_open = False
        self._sent_at = 0.0
        self._first_at: float | None = None
        # Of earlier attempts that a provider can have charged for.
        self._lost: list[tuple[Usage, Price | None]] = []

    def begin(self, price: Price | None, *, is_runner: bool, shows: bool) -> None:
        """`is_runner`: a local model, which stops when its connection closes, and whose failure is not paid for if the
        request is sent again. `shows`: its tokens are sent as they are generated.
        """
        if self._is_open and not self.is_runner:
            self._lost.append((self._spent()[0], self._price))
        self._price, self.is_runner, self._shows = price, is_runner, shows
        self._usage, self._is_finished, self.produced = None, False, Produced()
        self._is_open = self.was_cut = False
        self._first_at = None

    def sent(self) -> None:
        self._is_open = True
        self._sent_at = time.perf_counter()

    def free(self) -> None:
        self._is_open = False

    def watch(self, value: Mapping[str, Any]) -> None:
        """Counts one event of a streamed answer."""
        text = _only_text(value)
        if text is None:
            self.produced.add(_generated(value))
        else:
            self.produced.add_text(text)
        if self.produced.pieces and self._first_at is None:
            self._first_at = time.perf_counter()

    def state(self, usage: Usage | None, *, is_finished: bool) -> None:
        """Takes the counts of the server, as far as it has stated them. Those of a finished answer are not replaced."""
        if not self._is_finished:
            self._usage, self._is_finished = usage, is_finished

    def whole(self, usage: Usage, answer: bytes) -> None:
        """Takes the counts of a whole answer; `answer` itself is read only if they are missing."""
        self.state(usage, is_finished=True)
        if not usage.completion and self.claim.answer != 0:
            self.produced.add(_text_of(answer))

    def long(self, usage: Usage, size: int) -> None:
        """As `whole`, of an answer of `size` bytes that was not held."""
        self.state(usage, is_finished=True)
        if not usage.completion and self.claim.answer != 0:
            self.produced.add_unread(size)

    @property
    def cost(self) -> Decimal | None:
        """US dollars of a whole answer, before it is sent. None for a stream, and without a price."""
        if not (self._is_open and self._is_finished) or self.claim.is_free or self._price is None:
            return None
        lost = [cost(price, usage) or Decimal() for usage, price in self._lost]
        present = cost(self._price, self._spent()[0])
        return None if present is None else sum(lost, present)

    @property
    def is_priced(self) -> bool:
        return self._price is not None

    def settle(self, record: AccessRecord) -> None:
        """Writes tokens and cost. Nothing is written if no server has worked on the request."""
        spent, is_estimated = list(self._lost), bool(self._lost)
        if self._is_open:
            usage, is_guess = self._spent()
            spent.append((usage, self._price))
            is_estimated = is_estimated or is_guess
        if not spent or self.claim.is_free:
            return
        for usage, price in spent:
            _add(record, usage, price)
        record.estimated = is_estimated

    def _spent(self) -> tuple[Usage, bool]:
        """The usage of the present attempt, and whether a part of it is estimated."""
        found = _consistent(self._usage or Usage())
        prompt = found.prompt or None
        completion = found.completion
        if completion == 0 and self.produced.pieces:
            completion = None
        if self.claim.answer == 0 and not self.produced.pieces:
            is_known = True
        elif self._is_finished:
            is_known = completion is not None
            completion = self._bounded(self.produced.tokens) if completion is None else completion
        else:
            is_known = False
            completion = max(completion or 0, self._guess())
        is_estimated = prompt is None or not is_known
        return replace(found, prompt=prompt or self.claim.prompt, completion=completion), is_estimated

    def _guess(self) -> int:
        """An estimate of the tokens of an answer that was not read to its end."""
        now, passed, limit = time.perf_counter(), self.produced.tokens, self.claim.answer
        if self._shows or self.was_cut:
            first = now if self._first_at is None else self._first_at
            speed = passed / max(1.0, now - first)
            found = passed + max(_LEAST_UNSEEN, ceil(speed * _NOTICE_SECONDS))
            # Until its first visible token a provider's model can reason.
            if not (self.is_runner and self._shows):
                found += ceil((first - self._sent_at) * _TOKENS_PER_SECOND)
        else:
            # A server generates a whole answer to its end, unless it notices that its client has left.
            usual = self.claim.choices * USUAL_ANSWER_TOKENS
            found = max(passed, usual, ceil((now - self._sent_at) * _TOKENS_PER_SECOND)) if limit is None else limit
        return self._bounded(found)

    def _bounded(self, found: int) -> int:
        """At most the length that the request allows, and no less than a provider has sent."""
        limit = self.claim.answer
        if limit is None:
            return found
        return max(0 if self.is_runner else self.produced.pieces, min(found, limit))


def _consistent(usage: Usage) -> Usage:
    """Parts that are not larger than their whole: some servers count cached or reasoning tokens separately."""
    prompt, completion = usage.prompt, usage.completion
    cached, written, reasoning = usage.cached, usage.cache_write, usage.reasoning
    if prompt is not None:
        cached = None if cached is None else min(cached, prompt)
        written = None if written is None else min(written, prompt - (cached or 0))
    if completion is not None:
        reasoning = None if reasoning is None else min(reasoning, completion)
    return replace(usage, cached=cached, cache_write=written, reasoning=reasoning)


def _add(record: AccessRecord, usage: Usage, price: Price | None) -> None:
    record.prompt_tokens = _sum(record.prompt_tokens, usage.prompt)
    record.completion_tokens = _sum(record.completion_tokens, usage.completion)
    record.cached_tokens = _sum(record.cached_tokens, usage.cached)
    record.cache_write_tokens = _sum(record.cache_write_tokens, usage.cache_write)
    record.reasoning_tokens = _sum(record.reasoning_tokens, usage.reasoning)
    amount = cost(price, usage)
    if amount is not None:
        record.cost_usd = (record.cost_usd or 0.0) + float(amount)


def _sum(one: int | None, other: int | None) -> int | None:
    """Bounded by the database's columns."""
    if one is None or other is None:
        return one if other is None else other
    return min(one + other, 2**31 - 1)


def _texts(value: object) -> list[str]:
    """The strings of an answer's JSON that its model generated; the other ones are short."""
    found: list[str] = []
    open_values: list[Any] = [value]
    while open_values:
        item = open_values.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, Mapping):
            open_values += [inner for name, inner in item.items() if name not in _NO_TEXT]
        elif isinstance(item, list):
            open_values += item
    return found


def _text_of(answer: bytes) -> object:
    """The part of a whole answer's JSON that holds the generated text."""
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer.decode("utf-8", "replace")
    return _generated(value) if isinstance(value, dict) else None


def _only_text(value: Mapping[str, Any]) -> str | None:
    """The text of OpenAI's most frequent chunk: one choice, whose delta is a text and nothing else. None for others."""
    choices = value.get("choices")
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
        if isinstance(delta, dict) and len(delta) == 1:
            text = delta.get("content")
            return text if isinstance(text, str) else None
    return None


def _generated(value: Mapping[str, Any]) -> object:
    """The part of an answer or of an event that holds the generated text, in OpenAI's and Anthropic's dialects."""
    for name in ("choices", "delta", "content_block", "content", "output"):
        if name in value:
            return value[name]
    return None
