"""One decode step of all running embeddings."""

from __future__ import annotations

from collections.abc import Callable

import llama_cpp
import numpy as np

from models_app.domain.errors import EngineError
from models_app.engines.runner.batching import sampling
from models_app.engines.runner.batching.context import Context, Floats
from models_app.engines.runner.batching.generation import Embedded, Event, Failed
from models_app.engines.runner.batching.sequences import EmbeddingSequence, Sequence
from models_app.engines.runner.llama.model import LoadedModel


class EmbeddingStep:
    """`fill`, `decode`, and if that succeeded `harvest`: once each per step, in this order.

    Inputs of causal models are processed in pieces and pooled here; encoders get each input whole and pool it
    themselves.
    """

    def __init__(self, model: LoadedModel, context: Context, end: Callable[[Sequence, Event], None]) -> None:
        self._model, self._context, self._end = model, context, end
        self._rows = min(model.embedding_rows, context.n_batch)
        self._batch: list[tuple[EmbeddingSequence, int]] = []

    def fill(self, sequences: list[Sequence], room: int) -> list[Sequence]:
        """Fill the batch with inputs, or pieces of them, about `room` tokens; returns its sequences."""
        context = self._context
        context.clear()
        self._batch = []
        room = min(room, self._rows) if self._model.causal else self._rows
        for sequence in sequences:
            if not isinstance(sequence, EmbeddingSequence):
                continue
            count = min(sequence.left, room - context.rows)
            if count <= 0 or (count < sequence.left and not self._model.causal):
                break
            stored = sequence.stored
            piece = sequence.tokens[stored : stored + count]
            context.add_piece(sequence.slot_number, piece, stored, last=True, every=True)
            self._batch.append((sequence, count))
        return [sequence for sequence, _ in self._batch]

    def decode(self) -> int:
        return self._context.embed()

    def harvest(self) -> None:
        if not self._model.causal:
            for sequence, _ in self._batch:
                self._finish(sequence, self._context.sequence_embedding(sequence.slot_number))
            return
        vectors = self._context.embeddings(self._context.rows)
        first = 0
        for sequence, count in self._batch:
            sequence.pooled = self._pool(sequence.pooled, vectors[first : first + count])
            first += count
            sequence.stored += count
            if not sequence.left:
                self._finish(sequence, sequence.pooled)

    def _pool(self, pooled: Floats | None, vectors: Floats) -> Floats:
        """Pool the next vectors. The mean is kept as a sum, because the result is normalised anyway."""
        if self._model.pooling == llama_cpp.LLAMA_POOLING_TYPE_LAST:
            return np.array(vectors[-1])
        if self._model.pooling == llama_cpp.LLAMA_POOLING_TYPE_CLS:
            return np.array(vectors[0]) if pooled is None else pooled
        added: Floats = vectors.sum(axis=0)
        return added if pooled is None else pooled + added

    def _finish(self, sequence: EmbeddingSequence, vector: Floats) -> None:
        length = float(np.linalg.norm(vector))
        try:
            sampling.check(length)
        except EngineError as error:
            self._end(sequence, Failed(error))
            return
        unit = vector / length if length else vector
        self._end(sequence, Embedded(unit.tolist(), sequence.prompt_tokens))
