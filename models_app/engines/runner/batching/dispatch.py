"""The bridge between the decode thread and the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from models_app import clocks
from models_app.domain.errors import Draining, NoaError
from models_app.engines import marks
from models_app.engines.runner.batching.generation import Embedded, Event, Failed, Finished, Work

logger = logging.getLogger(__name__)

OnEvent = Callable[[Event], None]


class Engine(Protocol):
    """The part of the batcher that is needed here; both methods are thread-safe."""

    def submit(self, work: Work) -> None: ...

    def cancel(self, work: Work) -> None: ...


class Dispatch:
    """Routes the events of each work to its callback. All methods but `deliver` are for the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._engine: Engine
        self._waiting: dict[Work, OnEvent] = {}

    def attach(self, engine: Engine) -> None:
        self._engine = engine

    def deliver(self, events: list[tuple[Work, Event]]) -> None:
        """Called on the decode thread once a step, with the events of all sequences."""
        self._loop.call_soon_threadsafe(self._route, events)

    def submit(self, work: Work, on_event: OnEvent) -> None:
        """Every work gets exactly one last event, unless it is cancelled."""
        self._waiting[work] = on_event
        work.request = marks.current.get()
        try:
            self._engine.submit(work)
        except NoaError:
            del self._waiting[work]
            raise

    def cancel(self, work: Work) -> None:
        """Stop delivering events of this work. No effect on work that has ended."""
        if self._waiting.pop(work, None):
            self._engine.cancel(work)

    def end(self, work: Work) -> None:
        """As `cancel`, but its last event is delivered: `Finished("cancelled", …)` with its tokens so far."""
        if work in self._waiting:
            self._engine.cancel(work)

    def _route(self, events: list[tuple[Work, Event]]) -> None:
        for work, event in events:
            if isinstance(event, Finished | Embedded | Failed):
                on_event = self._waiting.pop(work, None)
            else:
                on_event = self._waiting.get(work)
            if on_event:
                self._call(work, on_event, event)

    def _call(self, work: Work, on_event: OnEvent, event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            # One broken answer must not affect the others of this step.
            logger.exception("an answer could not be written")
            self.cancel(work)
            on_event(Failed(NoaError("Internal error of the runner. Its log has the details.")))


class Drain:
    """Counts the requests in flight, and waits until there are none."""

    def __init__(self) -> None:
        self.draining = False
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._used_at = monotonic()

    @property
    def idle_seconds(self) -> float:
        """Since the end of the last request, or the start; 0 while one is in flight. Probes do not count."""
        return 0.0 if self.in_flight else monotonic() - self._used_at

    def used(self) -> None:
        self._used_at = monotonic()

    def __enter__(self) -> None:
        if self.draining:
            raise Draining("This instance is being unloaded. Send the request again to another one.")
        self.in_flight += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    def start_if_idle(self) -> bool:
        """Refuse new work if nothing is in flight; otherwise the instance stays in service."""
        if not self.in_flight:
            self.draining = True
        return self.draining

    async def start(self, wait: float) -> int:
        """Refuse new work; returns the requests still in flight, at 0 or after `wait` seconds."""
        self.draining = True
        try:
            async with clocks.timeout(wait):
                await self._idle.wait()
        except TimeoutError:
            pass
        return self.in_flight
