from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models_app.domain.errors import ContextLengthExceeded, InvalidRequest
from models_app.engines.runner.batching.generation import Embedded, Embedding, Failed
from tests.engines.runner.batching import encoder_file
from tests.engines.runner.batching.rig import Rig, rig

pytestmark = pytest.mark.llama


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Rig]:
    path = encoder_file.write_encoder_gguf(tmp_path / "encoder.gguf")
    with rig(path, n_ctx=512, n_batch=64) as running:
        yield running


def embed(running: Rig, *texts: str) -> list[np.ndarray]:
    works = [Embedding(running.tokens(text)) for text in texts]
    for work in works:
        running.batcher.submit(work)
    events = [running.last(work) for work in works]
    assert all(isinstance(event, Embedded) for event in events), events
    return [np.array(event.vector) for event in events if isinstance(event, Embedded)]


def test_it_only_embeds(encoder: Rig) -> None:
    event = encoder.last(encoder.start("the cat"))

    assert (encoder.model.can_embed, encoder.model.can_generate) == (True, False)
    assert isinstance(event, Failed)
    assert isinstance(event.error, InvalidRequest)


def test_a_batch_gives_what_each_input_gives_alone(encoder: Rig) -> None:
    texts = ["the cat sat", "a dog ran far away", "the dog " * 15, "the", "cat " * 20, "far"]
    alone = [embed(encoder, text)[0] for text in texts]

    together = embed(encoder, *texts)

    for one, other in zip(alone, together, strict=True):
        assert np.linalg.norm(other) == pytest.approx(1.0)
        assert one == pytest.approx(other, abs=1e-4)
    assert together[0] != pytest.approx(together[1], abs=0.01)


def test_an_input_longer_than_its_positions_is_refused(encoder: Rig) -> None:
    work = Embedding(encoder.tokens("the cat " * 24))
    assert encoder_file.POSITIONS < len(work.prompt) < 64
    encoder.batcher.submit(work)

    event = encoder.last(work)

    assert isinstance(event, Failed)
    assert isinstance(event.error, ContextLengthExceeded)
    encoder.idle()
