"""Puts a known load on one model and measures every answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from models_app.domain.routing import Target
from models_app.providers.asking import Answer, Asker
from models_app.providers.probes import content_of

# For one request. The gateway lets a request of an application run as long.
REQUEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """path           `chat/completions` or `completions`
    prompts        asked in turn; each is sent with its number in front, so that no server answers from its cache
    prompt_words   words that are added to each prompt
    """

    path: str
    requests: int
    concurrency: int
    max_tokens: int
    prompts: Sequence[str]
    prompt_words: int = 0

    def body(self, number: int) -> dict[str, Any]:
        text = f"{number}. {self.prompts[number % len(self.prompts)]}{_FILLER * self.prompt_words}"
        body: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.path == "chat/completions":
            return body | {"messages": [{"role": "user", "content": text}]}
        return body | {"prompt": text}


_FILLER = " and"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Durations are milliseconds; `gaps` are those between the pieces of the answer."""

    number: int
    ok: bool
    error: str
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft_ms: float | None
    duration_ms: float
    gaps: Sequence[float] = field(default=())

    @property
    def tokens_per_second(self) -> float | None:
        """Of the tokens after the first, which is there when the clock of generation starts."""
        tokens = (self.completion_tokens or 0) - 1
        if not self.ok or self.ttft_ms is None or tokens < 1:
            return None
        generating = self.duration_ms - self.ttft_ms
        return tokens * 1000 / generating if generating > 0 else None


def sample_of(number: int, answer: Answer) -> Sample:
    times = [at for at, event in answer.events if content_of(event)]
    error = answer.error or ("" if times else "The answer holds no text.")
    return Sample(
        number=number,
        ok=not error,
        error=error,
        prompt_tokens=answer.tokens("prompt_tokens"),
        completion_tokens=answer.tokens("completion_tokens"),
        ttft_ms=times[0] if times else None,
        duration_ms=answer.duration_ms,
        gaps=[later - earlier for earlier, later in zip(times, times[1:], strict=False)],
    )


class Measurement:
    """The requests of a load, under way on a thread of their own: `with Measurement(target, load) as samples`.

    Leaving the block before the last sample gives up the requests that are under way.
    """

    def __init__(self, target: Target, load: Load) -> None:
        self._target, self._load = target, load
        self._samples: SimpleQueue[Sample | None] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None]
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)

    def __enter__(self) -> Measurement:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def batches(self, every: float) -> Iterator[list[Sample]]:
        """Samples as they come, at least every so many seconds (then perhaps none); ends after the last.

        Fewer samples than requests mean that the measurement itself failed; its traceback is in the log.
        """
        while True:
            batch: list[Sample] = []
            sample = self._next(every)
            while isinstance(sample, Sample):
                batch.append(sample)
                sample = self._next(0)
            yield batch
            if sample is None:
                return

    def _next(self, seconds: float) -> Sample | Empty | None:
        """The next sample; None after the last; Empty when none came in time."""
        try:
            return self._samples.get(timeout=seconds) if seconds else self._samples.get_nowait()
        except Empty as nothing:
            return nothing

    def _run(self) -> None:
        self._task = self._loop.create_task(self._work())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._task)
        finally:
            self._samples.put(None)

    def _stop(self) -> None:
        self._task.cancel()

    async def _work(self) -> None:
        numbers = iter(range(self._load.requests))
        async with (
            Asker(self._target, connections=self._load.concurrency, keep_alive=True) as ask,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(min(self._load.concurrency, self._load.requests)):
                group.create_task(self._ask_in_turn(ask, numbers))

    async def _ask_in_turn(self, ask: Asker, numbers: Iterator[int]) -> None:
        for number in numbers:
            body = self._load.body(number)
            answer = await ask.ask(self._load.path, body, seconds=REQUEST_SECONDS)
            self._samples.put(sample_of(number, answer))
