"""The decode thread: continuous batching of all requests to one model."""

from __future__ import annotations

import itertools
import threading
import time
from array import array
from collections import deque
from dataclasses import dataclass

from models_app.domain.errors import (
    ContextLengthExceeded,
    Draining,
    EngineError,
    NoaError,
)
from models_app.engines.marks import Mark
from models_app.engines.runner.batching import context, slots
from models_app.engines.runner.batching.embedding import EmbeddingStep
from models_app.engines.runner.batching.generating import GenerationStep
from models_app.engines.runner.batching.generation import (
    Deliver,
    Event,
    Failed,
    Work,
)
from models_app.engines.runner.batching.intake import Intake
from models_app.engines.runner.batching.plan import Pace
from models_app.engines.runner.batching.sequences import (
    EmbeddingSequence,
    GenerationSequence,
    Sequence,
)
from models_app.engines.runner.batching.slots import Slot
from models_app.engines.runner.grammar.channels import GrammarProgram
from models_app.engines.runner.llama.model import LoadedModel
from models_app.engines.spec import RunnerSpec

# Cache reserved for each running generation when another one is admitted.
_GROWTH_TOKENS = 32


@dataclass(slots=True)
class Counters:
    """Totals since the start. `requests` are submitted works, `steps` computed batches; tokens are those of works
    that have ended.
    """

    requests: int = 0
    steps: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Batcher:
    """Runs `Work` in the slots of one context. `submit`, `cancel` and the properties are thread-safe.

    Every submitted work ends with exactly one `Finished`, `Embedded` or `Failed`. `deliver` is called on the decode
    thread, at most once a step, and must be quick: all sequences wait for it. If it raises, the thread ends and
    `alive` turns false.
    """

    def __init__(self, model: LoadedModel, spec: RunnerSpec, deliver: Deliver, mark: Mark | None = None) -> None:
        """`mark` names the request that a step computes alone, for a hang."""
        self.counters = Counters()
        self._model, self._deliver = model, deliver
        self._context = context.Context(model, slots=spec.slots)
        self._slots = [Slot(number) for number in range(spec.slots)]
        self._queue: deque[Sequence] = deque()
        self._refused: list[tuple[Work, Failed]] = []
        self._wake = threading.Condition()
        self._closed = False
        self._in_flight = 0
        self.grammars = GrammarProgram(spec.path, spec.confine)
        self._intake = Intake(model, self.grammars)
        self._uses = itertools.count(1)
        # Below: used by the decode thread only.
        self._running: list[Sequence] = []
        self._events: list[tuple[Work, Event]] = []
        self._pace = Pace()
        self._may_abort = True
        self._mark = mark or Mark.unread()
        self._generating = GenerationStep(model, self._context, self._publish, self._end)
        self._embedding = EmbeddingStep(model, self._context, self._end)
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Queue work. Invalid work ends with `Failed`; raises Draining after `close`."""
        refusal: NoaError | None = None
        try:
            sequence = self._intake.prepare(work)
        except NoaError as error:
            refusal = error
        with self._wake:
            if self._closed:
                raise Draining("This instance is stopping. Send the request again.")
            self.counters.requests += 1
            self._in_flight += 1
            if refusal is None:
                self._queue.append(sequence)
            else:
                self._refused.append((work, Failed(refusal)))
            self._wake.notify()

    def cancel(self, work: Work) -> None:
        """Ends work within milliseconds with `Finished("cancelled", …)`; does nothing to work that has ended."""
        work.cancelled = True
        running = tuple(self._running)
        if any(sequence.work is work for sequence in running) and (
            # A client that cancels repeatedly must not prevent the others from finishing a step.
            self._may_abort or all(sequence.work.cancelled for sequence in running)
        ):
            self._context.abort()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def slots_busy(self) -> int:
        return sum(slot.sequence is not None for slot in self._slots)

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Works submitted and not ended."""
        return self._in_flight

    def close(self) -> None:
        """Ends all work with `Failed`, then the thread; the model can be closed afterwards."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self.alive:
            self._context.abort()
            self._thread.join()
        self.grammars.close()

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._step()
        finally:
            self._end_everything()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._closed or self._queue or self._running or self._refused):
                self._wake.wait()
            return not self._closed

    def _step(self) -> None:
        # In this order: a cancellation from here on is either seen by the next line, or aborts the step.
        self._context.clear_abort()
        self._drop_cancelled()
        if self._queue:
            self._admit()
        if self._running:
            self._compute(self._generating)
            self._compute(self._embedding)
            self._generating.settle(self._running)
        if self._refused:
            self._refuse()
        if self._events:
            events, self._events = self._events, []
            self._deliver(events)

    def _drop_cancelled(self) -> None:
        for sequence in [s for s in self._running if s.work.cancelled]:
            self._cancel(sequence)
        if any(sequence.work.cancelled for sequence in tuple(self._queue)):
            with self._wake:
                dropped = [s for s in self._queue if s.work.cancelled]
                self._queue = deque(s for s in self._queue if not s.work.cancelled)
            for sequence in dropped:
                self._cancel(sequence)

    def _cancel(self, sequence: Sequence) -> None:
        self.counters.cancelled += 1
        self._end(sequence, sequence.finished("cancelled"))

    def _refuse(self) -> None:
        with self._wake:
            refused, self._refused = self._refused, []
            self._in_flight -= len(refused)
        self._events += refused

    def _admit(self) -> None:
        while self._queue:
            sequence = self._queue[0]
            reuses = isinstance(sequence, GenerationSequence) and sequence.work.sampling.cache_prompt
            reusable = sequence.tokens if reuses else array("i")
            place = slots.choose(self._slots, reusable)
            if place is None or not self._has_room_for(sequence):
                return
            self._queue.popleft()
            if sequence.may_grow or isinstance(sequence, EmbeddingSequence):
                self._place(sequence, *place)
            else:
                self._end(sequence, sequence.finished("length"))

    def _has_room_for(self, sequence: Sequence) -> bool:
        if not self._running or not self._model.has_memory:
            return True
        needed = sum(len(s.tokens) + min(s.may_grow, _GROWTH_TOKENS) for s in (*self._running, sequence))
        return needed <= self._model.n_ctx

    def _place(self, sequence: Sequence, slot: Slot, shared: int) -> None:
        # The last token is computed again even if it is cached, because its logits are not.
        sequence.stored = self._context.keep(slot.number, min(shared, len(sequence.tokens) - 1))
        if sequence.slot_number < 0:
            sequence.cached_tokens = sequence.stored
        sequence.slot_number = slot.number
        slot.sequence, slot.cached = sequence, array("i")
        self._running.append(sequence)

    def _compute(self, step: GenerationStep | EmbeddingStep) -> None:
        room = self._context.n_batch
        if len(self._running) > 1:
            room = min(room, self._pace.share())
        batch = step.fill(self._running, room)
        if not batch:
            return
        started = time.perf_counter()
        if len(batch) == 1:
            self._mark.set(batch[0].work.request)
        status = step.decode()
        self._mark.clear()
        if status == context.DONE:
            self._pace.learn(rows=self._context.rows, seconds=time.perf_counter() - started)
            self._may_abort = True
            self.counters.steps += 1
            step.harvest()
        elif status == context.FULL:
            self._make_room()
        else:
            self._rewind(batch, status)

    def _rewind(self, batch: list[Sequence], status: int) -> None:
        """Restore the caches after an aborted or failed step."""
        for sequence in batch:
            sequence.restore(self._context)
        if status == context.ABORTED:
            self._may_abort = False
            return
        error = EngineError(f"llama.cpp could not compute a step (error {status}). Send the request again.")
        for sequence in batch:
            self._end(sequence, Failed(error))

    def _make_room(self) -> None:
        """The cache is full: drop an idle slot's cache, or requeue the youngest sequence."""
        idle = slots.oldest_cache(self._slots)
        if idle is not None:
            self._context.keep(idle.number, 0)
            idle.cached = array("i")
            return
        youngest = max(self._running, key=lambda sequence: sequence.number)
        if len(self._running) == 1:
            error = ContextLengthExceeded(
                f"{len(youngest.tokens):,} tokens do not fit into the context of this instance. Shorten the prompt."
            )
            self._end(youngest, Failed(error))
            return
        self._leave(youngest, cache=False)
        self._queue.appendleft(youngest)

    def _leave(self, sequence: Sequence, *, cache: bool) -> None:
        """Free a sequence's slot; with `cache`, its cache stays for a prompt with the same prefix."""
        slot = self._slots[sequence.slot_number]
        self._running.remove(sequence)
        if cache:
            slot.cached = sequence.tokens[: sequence.stored]
        else:
            self._context.keep(slot.number, 0)
            sequence.stored = 0
        slot.used = next(self._uses)
        slot.sequence = None

    def _end(self, sequence: Sequence, event: Event) -> None:
        if sequence in self._running:
            self._leave(sequence, cache=isinstance(sequence, GenerationSequence))
        sequence.close()
        counters = self.counters
        counters.prompt_tokens += sequence.prompt_tokens
        counters.cached_tokens += sequence.cached_tokens
        counters.completion_tokens += sequence.completion_tokens
        with self._wake:
            self._in_flight -= 1
        self._publish(sequence.work, event)

    def _publish(self, work: Work, event: Event) -> None:
        self._events.append((work, event))

    def _end_everything(self) -> None:
        with self._wake:
            self._closed = True
            waiting, self._queue = list(self._queue), deque()
        error = Draining("This instance has stopped. Send the request again.")
        for sequence in [*self._running, *waiting]:
            self._end(sequence, Failed(error))
        self._refuse()
        events, self._events = self._events, []
        if events:
            self._deliver(events)
