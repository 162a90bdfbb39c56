"""A decode thread with a real model, and the events that it delivers."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models_app.engines.runner.batching.batcher import Batcher
from models_app.engines.runner.batching.generation import (
    Embedded,
    Event,
    Failed,
    Finished,
    Generation,
    Piece,
    Sampling,
    Work,
)
from models_app.engines.runner.llama.model import LoadedModel
from models_app.engines.spec import RunnerSpec
from tests import waiting

DEADLINE = 30.0
LAST = (Finished, Embedded, Failed)


class Rig:
    """Submits work and waits for its events."""

    def __init__(self, model: LoadedModel, spec: RunnerSpec) -> None:
        self.model = model
        self.events: dict[Work, list[Event]] = defaultdict(list)
        self.log: list[Work] = []  # the work of each event, in order
        self._news = threading.Condition()
        self.batcher = Batcher(model, spec, self._deliver)
        self.batcher.start()

    def _deliver(self, events: list[tuple[Work, Event]]) -> None:
        with self._news:
            for work, event in events:
                self.events[work].append(event)
                self.log.append(work)
            self._news.notify_all()

    def wait(self, look: Callable[[], Any], what: str) -> None:
        with self._news:
            if not self._news.wait_for(look, DEADLINE):
                raise AssertionError(f"Waited {DEADLINE:g} s in vain until {what}.")

    def tokens(self, text: str) -> list[int]:
        return self.model.tokenize(text, add_special=True, parse_special=True)

    def start(self, prompt: str | list[int], **sampling: Any) -> Generation:
        tokens = self.tokens(prompt) if isinstance(prompt, str) else prompt
        options = {"max_tokens": 20, "temperature": 0.0} | sampling
        work = Generation(tokens, Sampling(**options))
        self.batcher.submit(work)
        return work

    def last(self, work: Work) -> Event:
        """The event that ended `work`."""
        self.wait(lambda: isinstance(self._newest(work), LAST), "the work has ended")
        return self.events[work][-1]

    def finished(self, work: Work) -> Finished:
        event = self.last(work)
        assert isinstance(event, Finished), event
        return event

    def text(self, work: Work) -> str:
        self.finished(work)
        return "".join(event.text for event in self.pieces(work))

    def pieces(self, work: Work) -> list[Piece]:
        return [event for event in self.events[work] if isinstance(event, Piece)]

    def complete(self, prompt: str | list[int], **sampling: Any) -> str:
        return self.text(self.start(prompt, **sampling))

    def first_text(self, work: Work) -> None:
        self.wait(lambda: self.pieces(work), "the first text")

    def busy(self, slots: int) -> None:
        """Waits until this number of slots is busy with their prompts."""
        waiting.until(lambda: self.batcher.slots_busy == slots, f"{slots} slots are busy")

    def idle(self) -> None:
        """Waits until nothing runs; all slots are free then."""
        self.wait(lambda: not self.batcher.in_flight, "nothing is in flight")
        assert (self.batcher.slots_busy, self.batcher.queued) == (0, 0)

    def _newest(self, work: Work) -> Event | None:
        events = self.events.get(work)
        return events[-1] if events else None


@contextmanager
def rig(path: Path, *, n_ctx: int = 512, slots: int = 4, n_batch: int = 64, threads: int = 1) -> Iterator[Rig]:
    spec = RunnerSpec(
        instance_id="test",
        model="llama.cpp:test",
        fingerprint="test",
        path=str(path),
        socket="",
        n_ctx=n_ctx,
        slots=slots,
        n_batch=n_batch,
        n_threads=threads,
        n_gpu_layers=0,
    )
    model = LoadedModel(spec)
    running = Rig(model, spec)
    try:
        yield running
    finally:
        running.batcher.close()
        model.close()
