"""Chooses the next token of a generation from its logits.

llama.cpp's own samplers visit every token of the vocabulary one by one: with 128,000 of them that takes 1.6 ms a token,
11 ms with `top_p` where the choice is wide, and all sequences wait for it. Here numpy does it in less than a
millisecond. Grammars are llguidance's, in other processes: see `constraints`.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models_app.domain.errors import EngineError, InvalidRequest
from models_app.engines.runner.batching.context import Floats
from models_app.engines.runner.batching.generation import Sampling, TokenChoice, TokenLogprob
from models_app.engines.runner.llama.vocabulary import Vocabulary

Tokens = npt.NDArray[np.int32]

# Below this, dividing logits by the temperature overflows and means the same as greedy anyway.
_COLDEST = 1e-4
# The window of the repeat penalty in tokens, llama.cpp's default.
_REPEAT_WINDOW = 64
_BLOCK = 512


class Sampler:
    """The sampler of one generation: `adjust` its row of logits, `choose` a token, `accept` it.

    Raises InvalidRequest for a bias on tokens that do not exist.
    """

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, *, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._cold = sampling.temperature < _COLDEST
        self._random = random.Random(sampling.seed)
        self._bias = _bias(sampling, vocabulary)
        self._recent = deque(prompt[-_REPEAT_WINDOW:], _REPEAT_WINDOW)
        self._written: Counter[int] = Counter()
        # The choice is the highest logit, computed for many rows at once.
        self.greedy = self._cold and sampling.grammar is None

    def adjust(self, logits: Floats) -> None:
        """Add bias and penalties to a row of logits."""
        if self._bias is not None:
            logits[self._bias[0]] += self._bias[1]
        settings = self._sampling
        if settings.repeat_penalty != 1.0 and self._recent:
            recent = np.unique(np.fromiter(self._recent, np.int32))
            values = logits[recent]
            by = np.float32(settings.repeat_penalty)
            logits[recent] = np.where(values > 0, values / by, values * by)
        if (settings.frequency_penalty or settings.presence_penalty) and self._written:
            times = np.fromiter(self._written.values(), np.float32)
            written = np.fromiter(self._written, np.int32)
            logits[written] -= times * settings.frequency_penalty + settings.presence_penalty

    def choose(self, logits: Floats) -> int:
        """The next token by its row of logits. Raises EngineError for logits that are not numbers."""
        check(logits.max())
        return self.pick(logits)

    def accept(self, token: int) -> None:
        self._recent.append(token)
        self._written[token] += 1

    def pick(self, logits: Floats) -> int:
        if self._cold:
            return int(logits.argmax())
        return draw(logits, self._sampling, self._random.random())


def draw(logits: Floats, sampling: Sampling, chance: float) -> int:
    """A token by the probabilities of temperature, top-k, top-p and min-p; `chance` is a random number below 1."""
    tokens = _eligible(logits, sampling)
    values = logits if tokens is None else logits[tokens]
    weights = np.exp((values - values.max()) / np.float32(sampling.temperature))
    place = _place(weights, chance)
    return place if tokens is None else int(tokens[place])


def _place(weights: Floats, chance: float) -> int:
    """The first index at which the cumulative weight exceeds the share `chance` of the sum."""
    # One cumulative sum takes ten times as long as block sums and a cumulative sum of one block.
    blocks = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK)), dtype=float)
    wanted = chance * blocks[-1]
    block = min(int(np.searchsorted(blocks, wanted, side="right")), blocks.size - 1)
    first = block * _BLOCK
    sums = np.cumsum(weights[first : first + _BLOCK], dtype=float)
    before = blocks[block - 1] if block else 0.0
    return first + min(int(np.searchsorted(sums, wanted - before, side="right")), sums.size - 1)


def _eligible(logits: Floats, sampling: Sampling) -> npt.NDArray[np.intp] | None:
    """The tokens left by top-k, top-p and min-p, in this order and before the temperature; None for all."""
    tokens: npt.NDArray[np.intp] | None = None
    if 0 < sampling.top_k < logits.size:
        tokens = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
    if sampling.top_p >= 1.0 and sampling.min_p <= 0.0:
        return tokens
    values = logits if tokens is None else logits[tokens]
    weights = np.exp(values - values.max())  # the largest is 1
    whole = float(weights.sum())
    # Tokens below an even share of the mass that top-p cuts off cannot exceed it together: no need to sort them.
    spare = (1.0 - sampling.top_p) * whole / values.size
    kept = np.flatnonzero(weights >= max(sampling.min_p, 0.5 * spare))
    if sampling.top_p < 1.0:
        kept = kept[np.argsort(-weights[kept], kind="stable")]
        sums = np.cumsum(weights[kept], dtype=np.float64)
        kept = kept[: int(np.searchsorted(sums, sampling.top_p * whole)) + 1]
    return kept if tokens is None else tokens[kept]


def check(logit: float) -> None:
    """Raises EngineError when the highest logit of a row is not finite."""
    if not math.isfinite(logit):
        raise EngineError(
            "The model computed values that are not numbers; its file is probably damaged."
            " Compare its checksum with the original.",
            code="broken_logits",
        )


def most_probable(logits: Floats, rows: list[int]) -> list[int]:
    """The token with the highest logit in each of `rows`, which ascend; NaN counts as the highest."""
    everything = len(rows) == rows[-1] + 1
    some = logits[: len(rows)] if everything else logits[rows]
    chosen: list[int] = some.argmax(axis=1).tolist()
    return chosen


def describe(logits: Floats, token: int, *, top: int, piece: Callable[[int], bytes]) -> TokenChoice:
    """The log-probabilities of `token` and of the `top` best tokens, from the model's raw logits."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= math.log(np.exp(values).sum())

    def entry(index: int) -> TokenLogprob:
        return TokenLogprob(index, piece(index), float(values[index]))

    count = min(top, values.size)
    best = np.argpartition(values, -count)[-count:] if count else np.empty(0, np.intp)
    ordered = best[np.argsort(-values[best], kind="stable")]
    return TokenChoice(entry(token), tuple(entry(int(index)) for index in ordered))


def _bias(sampling: Sampling, vocabulary: Vocabulary) -> tuple[Tokens, Floats] | None:
    """The biased tokens and their biases; None without any."""
    bias = dict(sampling.logit_bias)
    unknown = [token for token in bias if not 0 <= token < vocabulary.size]
    if unknown:
        raise InvalidRequest(
            f"Token {unknown[0]} in logit_bias is not in this model's vocabulary, which has tokens 0 to"
            f" {vocabulary.size - 1}.",
            code="token_out_of_range",
            param="logit_bias",
        )
    if sampling.ignore_eos:
        bias |= dict.fromkeys(vocabulary.ends, -math.inf)
    if not bias:
        return None
    return np.array(list(bias), np.int32), np.array(list(bias.values()), np.float32)
