from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models_app.domain.errors import ContextLengthExceeded
from models_app.engines.runner.batching.generation import Embedded, Embedding, Failed
from tests.engines.runner.batching.rig import Rig, rig

pytestmark = pytest.mark.llama


def embed(running: Rig, *texts: str) -> list[np.ndarray]:
    works = [Embedding(running.tokens(text)) for text in texts]
    for work in works:
        running.batcher.submit(work)
    vectors = []
    for work in works:
        event = running.last(work)
        assert isinstance(event, Embedded), event
        assert event.prompt_tokens == len(work.prompt)
        vectors.append(np.array(event.vector))
    return vectors


def test_vectors_have_the_length_of_one(story: Rig) -> None:
    for vector in embed(story, "a", "The cat sat", "x" * 300):
        assert np.linalg.norm(vector) == pytest.approx(1.0)


def test_similar_texts_are_closer_than_others(story: Rig) -> None:
    cat, cats, other = embed(story, "the cat sat there", "there sat the cat", "1234567890")

    assert cat @ cats > cat @ other


def test_a_batch_gives_what_each_input_gives_alone(noise: Rig) -> None:
    texts = [f"text number {number} " * (1 + number * 4) for number in range(6)]
    alone = [embed(noise, text)[0] for text in texts]

    together = embed(noise, *texts)

    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_an_input_longer_than_a_batch_is_not_cut(random_file: Path) -> None:
    text = "word " * 60
    with rig(random_file, n_batch=32) as small, rig(random_file, n_batch=512) as large:
        pieces, whole = embed(small, text)[0], embed(large, text)[0]

    assert pieces == pytest.approx(whole, abs=1e-3)


def test_an_input_longer_than_the_context_is_refused(story: Rig) -> None:
    work = Embedding([5] * 513)
    story.batcher.submit(work)

    event = story.last(work)

    assert isinstance(event, Failed)
    assert isinstance(event.error, ContextLengthExceeded)


def test_embeddings_do_not_disturb_a_generation(noise: Rig) -> None:
    alone = noise.complete("Once", max_tokens=60)
    stream = noise.start("Once", max_tokens=60)
    noise.first_text(stream)

    embed(noise, *[f"text {number}" for number in range(10)])

    assert noise.text(stream) == alone
