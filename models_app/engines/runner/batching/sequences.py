"""Running work of the decode thread: its cached tokens, its tokens still to compute, its results."""

from __future__ import annotations

from array import array
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models_app.engines.runner.batching.constraints import Constraint
from models_app.engines.runner.batching.context import Context
from models_app.engines.runner.batching.generation import Embedding, Finished, Generation, TokenChoice
from models_app.engines.runner.batching.sampling import Sampler
from models_app.engines.runner.formats.text import TextStream


class _Tokens:
    """`tokens` are all tokens known so far; the first `stored` of them are in the cache of the slot.

    `number` counts arrivals. A sequence that loses its slot keeps the rest and can continue in another one.
    """

    __slots__ = ("cached_tokens", "number", "prompt_tokens", "slot_number", "stored", "tokens")

    def __init__(self, tokens: array[int], number: int) -> None:
        self.tokens = tokens
        self.number = number
        self.prompt_tokens = len(tokens)
        self.cached_tokens = 0
        self.stored = 0
        self.slot_number = -1  # never had one

    @property
    def left(self) -> int:
        """Tokens to compute before the next output."""
        return len(self.tokens) - self.stored

    @property
    def completion_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    def finished(self, reason: str) -> Finished:
        return Finished(reason, self.prompt_tokens, self.cached_tokens, self.completion_tokens)

    def restore(self, context: Context) -> None:
        """Restore the cache after a failed step."""
        self.stored = context.restore(self.slot_number, self.stored)


class GenerationSequence(_Tokens):
    """A `Generation` with its sampler, grammar and text; `choices` are pending until their text is published."""

    __slots__ = ("choices", "constraint", "sampler", "text", "work")

    def __init__(
        self,
        work: Generation,
        tokens: array[int],
        number: int,
        *,
        sampler: Sampler,
        constraint: Constraint | None = None,
    ) -> None:
        super().__init__(tokens, number)
        self.work = work
        self.sampler = sampler
        self.constraint = constraint
        self.text = TextStream(work.sampling.stop)
        self.choices: list[TokenChoice] = []

    @property
    def may_grow(self) -> int:
        """Tokens that can still be generated."""
        return max(0, self.work.sampling.max_tokens - self.completion_tokens)

    def finished(self, reason: str) -> Finished:
        return replace(super().finished(reason), stop=self.text.stop)

    @property
    def pending(self) -> bool:
        """Whether its grammar decides on its next token now."""
        return self.constraint is not None and self.constraint.pending

    def close(self) -> None:
        if self.constraint is not None:
            self.constraint.close()


class EmbeddingSequence(_Tokens):
    """An `Embedding` with the vectors pooled so far."""

    __slots__ = ("pooled", "work")

    may_grow = 0

    def __init__(self, work: Embedding, tokens: array[int], number: int) -> None:
        super().__init__(tokens, number)
        self.work = work
        self.pooled: npt.NDArray[np.float32] | None = None

    def restore(self, context: Context) -> None:
        super().restore(context)
        if not self.stored:
            self.pooled = None

    def close(self) -> None:
        self.pooled = None


Sequence = GenerationSequence | EmbeddingSequence
