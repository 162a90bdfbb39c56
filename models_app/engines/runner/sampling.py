"""How the next token of one generation is chosen from its logits."""

from __future__ import annotations

import ctypes
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from models_app.domain.errors import EngineError, InvalidRequest
from models_app.engines.runner import native
from models_app.engines.runner.context import Context, Floats
from models_app.engines.runner.generation import Sampling, TokenChoice, TokenLogprob
from models_app.engines.runner.vocabulary import Vocabulary

# Below this, dividing logits by the temperature overflows and means the same as greedy anyway.
_COLDEST = 1e-4
# How far back a repeat penalty looks, as everywhere in llama.cpp.
_REPEAT_WINDOW = 64
# llama.cpp takes this seed as "choose one yourself".
_RANDOM_SEED = 0xFFFFFFFF
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """Chooses the tokens of one generation. `greedy` ones need no state and can be chosen for many rows at once.

    Raises InvalidRequest for a bias on tokens that do not exist and for a grammar that does not compile.
    """

    def __init__(
        self, sampling: Sampling, vocabulary: Vocabulary, *, prompt: Sequence[int], n_ctx: int
    ) -> None:
        self._size = vocabulary.size
        self._chain: Any = None
        self._grammar: Any = None
        self._bias = _bias(sampling, vocabulary)
        cold = sampling.temperature < _COLDEST
        self.greedy = cold and sampling.grammar is None and not _penalizes(sampling)
        if self.greedy:
            return
        self._chain = self._build_chain(sampling, n_ctx=n_ctx, cold=cold)
        for token in prompt[-_REPEAT_WINDOW:] if sampling.repeat_penalty != 1.0 else ():
            native.accept(self._chain, token)
        if sampling.grammar is not None:
            self._start_grammar(sampling.grammar, vocabulary)

    def _build_chain(self, sampling: Sampling, *, n_ctx: int, cold: bool) -> Any:
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        size = self._size
        links: list[Any] = []
        if self._bias is not None:
            links.append(_bias_link(self._bias, size))
        if sampling.repeat_penalty != 1.0:
            links.append(
                llama_cpp.llama_sampler_init_penalties(
                    size, _REPEAT_WINDOW, sampling.repeat_penalty, 0.0, 0.0
                )
            )
        if sampling.frequency_penalty or sampling.presence_penalty:
            links.append(
                llama_cpp.llama_sampler_init_penalties(
                    size, n_ctx, 1.0, sampling.frequency_penalty, sampling.presence_penalty
                )
            )
        links += [llama_cpp.llama_sampler_init_greedy()] if cold else _random_links(sampling)
        for link in links:
            llama_cpp.llama_sampler_chain_add(chain, link)
        return chain

    def _start_grammar(self, grammar: str, vocabulary: Vocabulary) -> None:
        self._grammar = llama_cpp.llama_sampler_init_grammar(
            vocabulary.pointer, grammar.encode(), b"root"
        )
        if not self._grammar:
            raise InvalidRequest(
                "The grammar could not be compiled. Check its rules.", param="grammar"
            )

    def add_bias(self, logits: Floats) -> None:
        """For greedy samplers: changes the row that the most probable token is then chosen from."""
        if self._bias is not None:
            logits[self._bias[0]] += self._bias[1]

    def choose(self, context: Context, row: int, logits: Floats) -> int | None:
        """The next token; `row` is its row in the batch, `logits` are that row's. None where a grammar allows nothing.

        Raises EngineError for logits that are not numbers: what sorts them would read out of bounds.
        """
        if not math.isfinite(logits.max()):
            raise broken_logits()
        if self._grammar is None:
            return context.sample(self._chain, row)
        return self._choose_by_grammar(logits)

    def _choose_by_grammar(self, logits: Floats) -> int | None:
        """Most free choices obey the grammar, and asking about one token is a thousand times faster than about all."""
        token = self._pick(logits, constrained=False)
        if token is not None and not self._allows(token):
            token = self._pick(logits, constrained=True)
        if token is not None:
            native.accept(self._grammar, token)
            native.accept(self._chain, token)
        return token

    def _pick(self, logits: Floats, *, constrained: bool) -> int | None:
        candidates = np.empty(self._size, _CANDIDATE)
        candidates["id"] = np.arange(self._size)
        candidates["logit"] = logits
        array = _array_of(candidates)
        if constrained:
            llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(array))
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(array))
        if not 0 <= array.selected < array.size:
            return None
        chosen = candidates[array.selected]
        return int(chosen["id"]) if math.isfinite(chosen["logit"]) else None

    def _allows(self, token: int) -> bool:
        candidate = np.array([(token, 1.0, 0.0)], _CANDIDATE)
        array = _array_of(candidate)
        native.apply(self._grammar, ctypes.byref(array))
        return math.isfinite(candidate["logit"][0])

    def close(self) -> None:
        for pointer in (self._chain, self._grammar):
            if pointer:
                llama_cpp.llama_sampler_free(pointer)
        self._chain = self._grammar = None


def broken_logits() -> EngineError:
    return EngineError(
        "The model computed values that are not numbers; its file is probably damaged."
        " Compare its checksum with the original.",
        code="broken_logits",
    )


def most_probable(logits: Floats, rows: list[int]) -> list[int]:
    """The token with the highest logit in each of `rows`, which ascend; one that is not a number wins."""
    everything = len(rows) == rows[-1] + 1
    chosen: list[int] = (
        (logits[: len(rows)] if everything else logits[rows]).argmax(axis=1).tolist()
    )
    return chosen


def check(token: int, logits: Floats) -> None:
    """Raises EngineError for a token whose logit is not a number."""
    if not math.isfinite(logits.item(token)):
        raise broken_logits()


def describe(logits: Floats, token: int, *, top: int, piece: Callable[[int], bytes]) -> TokenChoice:
    """The log-probabilities of `token` and of the `top` best ones, from the model's raw logits."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= math.log(np.exp(values).sum())

    def entry(index: int) -> TokenLogprob:
        return TokenLogprob(index, piece(index), float(values[index]))

    count = min(top, values.size)
    best = np.argpartition(values, -count)[-count:] if count else np.empty(0, np.intp)
    ordered = best[np.argsort(-values[best], kind="stable")]
    return TokenChoice(entry(token), tuple(entry(int(index)) for index in ordered))


def _penalizes(sampling: Sampling) -> bool:
    return bool(
        sampling.repeat_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty
    )


def _bias(
    sampling: Sampling, vocabulary: Vocabulary
) -> tuple[npt.NDArray[np.int32], Floats] | None:
    """What is added to which logits; None for nothing."""
    bias = dict(sampling.logit_bias)
    unknown = [token for token in bias if not 0 <= token < vocabulary.size]
    if unknown:
        raise InvalidRequest(
            f"Token {unknown[0]} in logit_bias is not in this model's vocabulary, which has tokens 0 to"
            f" {vocabulary.size - 1}.",
            param="logit_bias",
        )
    if sampling.ignore_eos:
        bias |= dict.fromkeys(vocabulary.ends, -math.inf)
    if not bias:
        return None
    return np.array(list(bias), np.int32), np.array(list(bias.values()), np.float32)


def _bias_link(bias: tuple[npt.NDArray[np.int32], Floats], size: int) -> Any:
    pairs = list(zip(bias[0].tolist(), bias[1].tolist(), strict=True))
    entries: Any = (llama_cpp.llama_logit_bias * len(pairs))(*pairs)  # type: ignore[misc]
    return llama_cpp.llama_sampler_init_logit_bias(size, len(pairs), entries)


def _random_links(sampling: Sampling) -> list[Any]:
    links: list[Any] = []
    if sampling.top_k > 0:
        links.append(llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1.0:
        links.append(llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        links.append(llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    if sampling.temperature != 1.0:
        links.append(llama_cpp.llama_sampler_init_temp(sampling.temperature))
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & _RANDOM_SEED
    links.append(llama_cpp.llama_sampler_init_dist(min(seed, _RANDOM_SEED - 1)))
    return links


def _array_of(candidates: npt.NDArray[Any]) -> Any:
    """What llama.cpp's samplers work on; it points into `candidates`, which has to live as long."""
    data = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)
    return llama_cpp.llama_token_data_array(data, len(candidates), -1, False)
