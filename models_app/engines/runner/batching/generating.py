"""One decode step of all running generations: one token of each, and pieces of pending prompts."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from models_app.domain.errors import NoaError
from models_app.engines.runner.batching import plan, sampling
from models_app.engines.runner.batching.context import Context, Floats
from models_app.engines.runner.batching.generation import Event, Failed, Piece, Work
from models_app.engines.runner.batching.sequences import GenerationSequence, Sequence
from models_app.engines.runner.llama.model import LoadedModel

# Seconds. A grammar decides on a token that it allows within 0.1 ms; without a wait each would miss a step. Others wait
# so long at most once for each token of a slow grammar.
_PATIENCE_SECONDS = 0.001
# New requests wait so long at most.
_ALONE_SECONDS = 0.005

Publish = Callable[[Work, Event], None]
End = Callable[[Sequence, Event], None]


class GenerationStep:
    """`fill`, `decode`, and if that succeeded `harvest`, then `settle`: once each per step, in this order."""

    def __init__(self, model: LoadedModel, context: Context, publish: Publish, end: End) -> None:
        self._context, self._publish, self._end = context, publish, end
        self._piece, self._ends = model.piece, model.vocabulary.ends
        self._n_ctx = model.n_ctx
        self._batch: list[tuple[GenerationSequence, int]] = []
        # The sequences whose next token this step decides, in the order of their rows of logits.
        self._ready: list[GenerationSequence] = []
        # Whether a grammar began to decide in this step.
        self._asked = False

    def fill(self, sequences: list[Sequence], room: int) -> list[Sequence]:
        """Fill the batch with the next tokens of the generations, at most `room` of prompts; returns its sequences."""
        context = self._context
        context.clear()
        self._ready, self._batch = [], []
        reading = []
        for sequence in sequences:
            if not isinstance(sequence, GenerationSequence) or sequence.pending:
                continue
            if sequence.constraint is not None:
                sequence.constraint.open()
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
        """Choose the next token of every sequence whose prompt is complete; publish the text that became certain.

        With a grammar the choice is pending afterwards."""
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
                self._decide(sequence, logits, row, chosen.get(row), raw.get(row))
            except NoaError as error:
                self._end(sequence, Failed(error))

    def _decide(
        self, sequence: GenerationSequence, logits: Floats, row: int, best: int | None, raw: Floats | None
    ) -> None:
        """Choose the next token by a row of logits, whose highest one is `best` if that is known. With a grammar the
        choice only begins here."""
        if sequence.constraint is not None:
            sequence.constraint.begin(logits[row], raw)
            self._asked = True
        elif best is not None:
            sampling.check(logits.item(row, best))
            self._take(sequence, best, raw)
        else:
            self._take(sequence, sequence.sampler.choose(logits[row]), raw)

    def settle(self, sequences: list[Sequence]) -> None:
        """Take the tokens that grammars have decided. Waits a moment for decisions that began in this step, and longer
        when there is nothing else to compute."""
        pending = [s for s in sequences if isinstance(s, GenerationSequence) and s.pending]
        alone = len(pending) == len(sequences)
        until = time.perf_counter() + (_ALONE_SECONDS if alone else _PATIENCE_SECONDS)
        while pending := [sequence for sequence in pending if not self._is_settled(sequence)]:
            left = until - time.perf_counter()
            if left <= 0 or not (alone or self._asked):
                break
            poll = select.poll()
            for sequence in pending:
                assert sequence.constraint is not None
                poll.register(sequence.constraint, select.POLLIN)
            poll.poll(1000 * left)
        self._asked = False

    def _is_settled(self, sequence: GenerationSequence) -> bool:
        assert sequence.constraint is not None
        try:
            decided = sequence.constraint.poll()
        except NoaError as error:
            self._end(sequence, Failed(error))
            return True
        if decided is None:
            return False
        self._take(sequence, decided.token, decided.raw)
        return True

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
