"""One decode step of all running generations: one token of each, and pieces of pending prompts."""

from __future__ import annotations

from collections.abc import Callable

from models_app.domain.errors import NoaError
from models_app.engines.runner.batching import plan, sampling
from models_app.engines.runner.batching.context import Context, Floats
from models_app.engines.runner.batching.generation import Event, Failed, Piece, Work
from models_app.engines.runner.batching.sequences import GenerationSequence, Sequence
from models_app.engines.runner.llama.model import LoadedModel

Publish = Callable[[Work, Event], None]
End = Callable[[Sequence, Event], None]


class GenerationStep:
    """`fill`, `decode`, and if that succeeded `harvest`: once each per step, in this order."""

    def __init__(self, model: LoadedModel, context: Context, publish: Publish, end: End) -> None:
        self._context, self._publish, self._end = context, publish, end
        self._piece, self._ends = model.piece, model.vocabulary.ends
        self._n_ctx = model.n_ctx
        self._batch: list[tuple[GenerationSequence, int]] = []
        # The sequences whose next token this step decides, in the order of their rows of logits.
        self._ready: list[GenerationSequence] = []

    def fill(self, sequences: list[Sequence], room: int) -> list[Sequence]:
        """Fill the batch with the next tokens of the generations, at most `room` of prompts; returns its sequences."""
        context = self._context
        context.clear()
        self._ready, self._batch = [], []
        reading = []
        for sequence in sequences:
            if not isinstance(sequence, GenerationSequence):
                continue
            if sequence.left > 1:
                reading.append(sequence)
                continue
            self._ready.append(sequence)
            self._batch.append((sequence, 1))
            context.add_row(sequence.slot_number, sequence.tokens[-1], sequence.stored)
        if reading:
            self._fill_prompts(reading, min(room, context.n_batch - context.rows))
        return [sequence for sequence, _ in self._batch]

    def _fill_prompts(self, reading: list[GenerationSequence], room: int) -> None:
        shares = plan.divide([sequence.left for sequence in reading], room)
        for sequence, share in zip(reading, shares, strict=True):
            if not share:
                continue
            stored = sequence.stored
            last = share == sequence.left
            self._context.add_piece(sequence.slot_number, sequence.tokens[stored : stored + share], stored, last=last)
            self._batch.append((sequence, share))
            if last:
                self._ready.append(sequence)

    def decode(self) -> int:
        return self._context.decode()

    def harvest(self) -> None:
        """Choose the next token of every sequence whose prompt is complete; publish the text that became certain."""
        for sequence, count in self._batch:
            sequence.stored += count
        if not self._ready:
            return
        logits = self._context.logits()
        raw = {  # before they are adjusted
            row: logits[row].copy()
            for row, sequence in enumerate(self._ready)
            if sequence.work.sampling.top_logprobs is not None
        }
        for row, sequence in enumerate(self._ready):
            sequence.sampler.adjust(logits[row])
        greedy = [row for row, sequence in enumerate(self._ready) if sequence.sampler.greedy]
        best = sampling.most_probable(logits, greedy) if greedy else []
        chosen = dict(zip(greedy, best, strict=True))
        for row, sequence in enumerate(self._ready):
            try:
                token = chosen.get(row)
                if token is None:
                    token = sequence.sampler.choose(logits[row])
                else:
                    sampling.check(logits.item(row, token))
                self._take(sequence, token, raw.get(row))
            except NoaError as error:
                self._end(sequence, Failed(error))

    def _take(self, sequence: GenerationSequence, token: int | None, raw: Floats | None) -> None:
        """Adds a chosen token; None ends the sequence."""
        if token is None:
            self._finish(sequence, "stop")
            return
        sequence.tokens.append(token)
        sequence.sampler.accept(token)
        if token in self._ends:
            self._finish(sequence, "stop")
            return
        if raw is not None:
            top = sequence.work.sampling.top_logprobs or 0
            sequence.choices.append(sampling.describe(raw, token, top=top, piece=self._piece))
        text = sequence.text.feed(self._piece(token))
        if text:
            self._publish_text(sequence, text)
        if sequence.text.stopped:
            self._finish(sequence, "stop")
        elif not sequence.may_grow or len(sequence.tokens) >= self._n_ctx:
            self._finish(sequence, "length")

    def _publish_text(self, sequence: GenerationSequence, text: str) -> None:
        choices, sequence.choices = sequence.choices, []
        self._publish(sequence.work, Piece(text, tuple(choices)))

    def _finish(self, sequence: GenerationSequence, reason: str) -> None:
        text = sequence.text.finish()
        if text or (sequence.choices and not sequence.text.stopped):
            self._publish_text(sequence, text)
        self._end(sequence, sequence.finished(reason))
