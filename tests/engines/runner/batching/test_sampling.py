from __future__ import annotations

import math
from collections import Counter
from itertools import count

import numpy as np
import numpy.typing as npt
import pytest

from models_app.domain.errors import EngineError
from models_app.engines.runner.batching import sampling
from models_app.engines.runner.batching.generation import Sampling

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], np.float32))


def drawn(logits: npt.NDArray[np.float32], **options: float) -> dict[int, float]:
    """How often each token is drawn, over evenly spread chances."""
    wanted = Sampling(max_tokens=1, **options)  # type: ignore[arg-type]
    tokens = Counter(sampling.draw(logits, wanted, (chance + 0.5) / 1000) for chance in range(1000))
    return {token: times / 1000 for token, times in sorted(tokens.items())}


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, {0: 0.5, 1: 0.25, 2: 0.125, 3: 0.0625, 4: 0.0625}),
        ({"temperature": 0.5}, {0: 0.744, 1: 0.186, 2: 0.0465, 3: 0.0116, 4: 0.0116}),
        ({"top_k": 2}, {0: 2 / 3, 1: 1 / 3}),
        ({"top_k": 100}, {0: 0.5, 1: 0.25, 2: 0.125, 3: 0.0625, 4: 0.0625}),
        ({"top_p": 0.6}, {0: 2 / 3, 1: 1 / 3}),
        ({"top_p": 0.0}, {0: 1.0}),
        ({"min_p": 0.2}, {0: 4 / 7, 1: 2 / 7, 2: 1 / 7}),
        ({"top_k": 3, "top_p": 0.8}, {0: 2 / 3, 1: 1 / 3}),
        ({"temperature": 1e-3}, {0: 1.0}),
    ],
)
def test_tokens_are_drawn_by_their_probabilities(options: dict[str, float], shares: dict[int, float]) -> None:
    assert drawn(LOGITS, **options) == pytest.approx(shares, abs=0.002)


def test_a_large_vocabulary_is_drawn_from_like_a_small_one() -> None:
    logits = np.full(10_000, -20.0, np.float32)
    logits[[100, 5000, 9999]] = np.log([0.5, 0.3, 0.2])

    assert drawn(logits) == pytest.approx({100: 0.5, 5000: 0.3, 9999: 0.2}, abs=0.002)
    assert drawn(logits, top_p=0.7) == pytest.approx({100: 0.625, 5000: 0.375}, abs=0.002)


def test_an_impossible_token_is_never_drawn() -> None:
    logits = np.array([-math.inf, 0.0, -math.inf], np.float32)

    assert drawn(logits, temperature=5.0) == {1: 1.0}


class Words:
    """The part of a vocabulary that a sampler without a grammar needs."""

    size = 5
    ends = frozenset([4])
    pointer = None


def sampler(**options: float) -> sampling.Sampler:
    wanted = Sampling(max_tokens=9, **options)  # type: ignore[arg-type]
    return sampling.Sampler(wanted, Words(), prompt=[0, 1])  # type: ignore[arg-type]


def adjusted(chooser: sampling.Sampler, *written: int) -> list[float]:
    for token in written:
        chooser.accept(token)
    logits = np.array([2.0, -2.0, 1.0, 1.0, 1.0], np.float32)
    chooser.adjust(logits)
    return [round(value, 3) for value in logits.tolist()]


def test_a_repeat_penalty_counts_the_prompt() -> None:
    assert adjusted(sampler(repeat_penalty=2.0), 2) == [1.0, -4.0, 0.5, 1.0, 1.0]


def test_presence_and_frequency_count_only_the_answer() -> None:
    chooser = sampler(presence_penalty=0.5, frequency_penalty=0.25)

    assert adjusted(chooser, 2, 2, 3) == [2.0, -2.0, 0.0, 0.25, 1.0]


def test_ignoring_the_end_forbids_its_tokens() -> None:
    assert adjusted(sampler(ignore_eos=True))[4] == -math.inf


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_not_a_number_is_an_error(broken: float, temperature: float) -> None:
    logits = np.array([1.0, broken, 1.0, 1.0, 1.0], np.float32)

    with pytest.raises(EngineError):
        sampler(temperature=temperature).choose(logits)


def test_the_highest_logits_of_some_rows_are_found() -> None:
    table = np.array([[1, 5, 2], [9, 0, 0], [0, 0, 3]], np.float32)

    assert sampling.most_probable(table, [0, 1, 2]) == [1, 0, 2]
    assert sampling.most_probable(table, [1, 2]) == [0, 2]


def test_log_probabilities_add_up() -> None:
    names = count()
    choice = sampling.describe(LOGITS, 1, top=5, piece=lambda token: b"%d" % next(names))

    assert choice.chosen.logprob == pytest.approx(math.log(0.25), abs=1e-6)
    assert sum(math.exp(entry.logprob) for entry in choice.top) == pytest.approx(1.0)
    assert choice.top[0].token == 0
