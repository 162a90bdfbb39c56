"""Decides the tokens of a generation with a grammar, in a process that may take its time.

The decode thread asks and goes on: other sequences never wait for a grammar. Most choices satisfy it, so at first only
the choice is checked; when it is refused, one of the allowed tokens is drawn. By that each has the probability that it
has among those allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models_app.clocks import awake
from models_app.engines.runner.batching.context import Floats
from models_app.engines.runner.batching.sampling import Sampler
from models_app.engines.runner.grammar import channels
from models_app.engines.runner.grammar.channels import Channel, GrammarProgram

# The processes limit themselves to a second of processor time; this is for a machine that is much too busy.
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Decided:
    """`token` is None where the grammar allows none; `raw` are the row's logits as the model computed them."""

    token: int | None
    raw: Floats | None


class Constraint:
    """The grammar of one generation, and the token that is being decided."""

    def __init__(self, program: GrammarProgram, grammar: str, sampler: Sampler, vocabulary_size: int) -> None:
        self._program, self._grammar, self._sampler = program, grammar, sampler
        self._size = vocabulary_size
        self._channel: Channel | None = None
        self._logits: Floats | None = None
        self._raw: Floats | None = None
        self._asked = 0
        self._asked_at = 0.0

    @property
    def pending(self) -> bool:
        """Whether a token is being decided."""
        return self._logits is not None

    def open(self) -> None:
        """Start the process, so that it is ready when the prompt is computed."""
        if self._channel is None:
            self._channel = Channel(self._program, self._grammar, self._size)

    def fileno(self) -> int:
        return -1 if self._channel is None else self._channel.fileno()

    def begin(self, logits: Floats, raw: Floats | None) -> None:
        """Begin to decide the next token by its row of logits. Raises EngineError for logits that are not numbers."""
        self._asked = self._sampler.choose(logits)
        self._logits, self._raw = logits.copy(), raw
        self._asked_at = awake()
        assert self._channel is not None
        self._channel.ask(self._asked)

    def poll(self) -> Decided | None:
        """The decision; None while there is none. Raises the NoaError with which the generation ends."""
        if awake() - self._asked_at > _ANSWER_SECONDS:
            raise channels.too_slow()
        assert self._channel is not None and self._logits is not None
        answer = self._channel.answer()
        if answer is None:
            return None
        if answer.mask is None:
            return self._decided(self._asked)
        return self._choose_allowed(np.where(answer.mask, self._logits, np.float32(-np.inf)))

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._logits = None

    def _choose_allowed(self, allowed: Floats) -> Decided:
        assert self._channel is not None
        if not math.isfinite(allowed.max()):
            return self._decided(None)
        token = self._sampler.pick(allowed)
        self._channel.accept(token)
        return self._decided(token)

    def _decided(self, token: int | None) -> Decided:
        decided = Decided(token, self._raw)
        self._logits = self._raw = None
        return decided
