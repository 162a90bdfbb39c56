"""One step of the generations: a token of each that writes, pieces of the prompts of the others."""

from __future__ import annotations

from collections.abc import Callable

from models_app.domain.errors import NoaError
from models_app.engines.runner import plan, sampling
from models_app.engines.runner.context import Context, Floats
from models_app.engines.runner.generation import Event, Failed, Piece, Work
from models_app.engines.runner.model import LoadedModel
from models_app.engines.runner.sequences import GenerationSequence, Sequence

Say = Callable[[Work, Event], None]
End = Callable[[Sequence, Event], None]


class GenerationStep:
    """`fill`, `decode`, and if that succeeded `harvest`: once each per step, in this order."""

    def __init__(self, model: LoadedModel, context: Context, say: Say, end: End) -> None:
        self._context, self._say, self._end = context, say, end
        self._piece, self._ends = model.piece, model.vocabulary.ends
        self._n_ctx = model.n_ctx
        self._given: list[tuple[GenerationSequence, int]] = []
        # The sequences whose next token this step decides, with their row in the batch.
        self._ready: list[tuple[GenerationSequence, int]] = []

    def fill(self, sequences: list[GenerationSequence], room: int) -> list[Sequence]:
        """Puts the next tokens of `sequences` into the batch, at most `room` of prompts; returns who is in it."""
        context = self._context
        context.clear()
        self._ready, self._given = [], []
        reading = []
        for sequence in sequences:
            if sequence.left > 1:
                reading.append(sequence)
                continue
            self._ready.append((sequence, context.rows))
            self._given.append((sequence, 1))
            context.add_row(sequence.slot_number, sequence.tokens[-1], sequence.stored)
        if reading:
            self._fill_prompts(reading, min(room, context.n_batch - context.rows))
        return [sequence for sequence, _ in self._given]

    def _fill_prompts(self, reading: list[GenerationSequence], room: int) -> None:
        shares = plan.divide([sequence.left for sequence in reading], room)
        for sequence, share in zip(reading, shares, strict=True):
            if not share:
                continue
            stored = sequence.stored
            last = share == sequence.left
            self._context.add_piece(
                sequence.slot_number, sequence.tokens[stored : stored + share], stored, last=last
            )
            self._given.append((sequence, share))
            if last:
                self._ready.append((sequence, self._context.rows - 1))

    def decode(self) -> int:
        return self._context.decode()

    def harvest(self) -> None:
        for sequence, count in self._given:
            sequence.stored += count
        if not self._ready:
            return
        logits = self._context.logits()
        for output, (sequence, _) in enumerate(self._ready):
            sequence.sampler.prepare(logits[output])
        self._choose_greedily(logits)
        for output, (sequence, row) in enumerate(self._ready):
            if not sequence.sampler.greedy:
                self._choose(sequence, row, logits[output])

    def _choose_greedily(self, logits: Floats) -> None:
        rows = [output for output, (s, _) in enumerate(self._ready) if s.sampler.greedy]
        if not rows:
            return
        for output, token in zip(rows, sampling.choose_greedily(logits, rows), strict=True):
            sequence = self._ready[output][0]
            if token is None:
                self._end(sequence, Failed(sampling.broken_logits()))
            else:
                self._take(sequence, token, logits[output])

    def _choose(self, sequence: GenerationSequence, row: int, logits: Floats) -> None:
        try:
            token = sequence.sampler.choose(self._context, row, logits)
        except NoaError as error:
            self._end(sequence, Failed(error))
            return
        if token is None:
            self._finish(sequence, "stop")
        else:
            self._take(sequence, token, logits)
