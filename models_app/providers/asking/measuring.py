"""Puts a known load on one model and measures every answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from random import Random
from time import perf_counter
from typing import Any

from models_app.domain.measuring.figures import Sample
from models_app.domain.traffic.routing import Target
from models_app.providers.asking.asking import Answer, Asker, Sent
from models_app.providers.asking.probes import content_of

# For one request. The gateway lets a request of an application run as long.
REQUEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """path           `chat/completions` or `completions`
    prompts        sent in rotation, each after a number that is unique to its request, so that no cache answers it
    prompt_words   words of filler that are added to each prompt
    whole_length   every answer has exactly `max_tokens`, since the end of the text is never chosen. Local models only
    stage          number in each sample
    seed           of the numbers; unique to a run
    """

    path: str
    requests: int
    concurrency: int
    max_tokens: int
    prompts: Sequence[str]
    prompt_words: int = 0
    whole_length: bool = False
    stage: int = 0
    seed: str = ""

    def body(self, number: int) -> dict[str, Any]:
        # Digits at the very beginning: two prompts share only the text that the template puts before them.
        mark = Random(f"{self.seed}/{self.stage}/{number}").randrange(10**7, 10**8)
        text = f"{mark}. {self.prompts[number % len(self.prompts)]}{_FILLER * self.prompt_words}"
        body: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.whole_length:
            body["ignore_eos"] = True
        if self.path == "chat/completions":
            return body | {"messages": [{"role": "user", "content": text}]}
        return body | {"prompt": text}


_FILLER = " and"
# Long enough to make the template's constant tokens negligible, short for any context.
_CALIBRATION_WORDS = 64


def sized(target: Target, load: Load, sent: list[Sent] | None = None, *, prompt_tokens: int) -> Load:
    """The load with prompts of filler words that have `prompt_tokens` in this model's vocabulary.

    Two short requests measure the tokens per word. If the model does not report counts, one per word is assumed.
    """
    bare = replace(load, prompts=("",), prompt_words=0)
    short, long = (
        _prompt_tokens(target, replace(bare, prompt_words=words, stage=-1 - words), sent)
        for words in (0, _CALIBRATION_WORDS)
    )
    if short is None or long is None or long <= short:
        return replace(bare, prompt_words=prompt_tokens)
    words = (prompt_tokens - short) * _CALIBRATION_WORDS / (long - short)
    return replace(bare, prompt_words=max(0, round(words)))


def _prompt_tokens(target: Target, load: Load, sent: list[Sent] | None) -> int | None:
    single = replace(load, requests=1, concurrency=1, max_tokens=1)
    with Measurement(target, single, sent) as measurement:
        samples = [sample for batch in measurement.batches(1.0) for sample in batch]
    return samples[0].prompt_tokens if samples else None


def sample_of(number: int, answer: Answer, *, stage: int, started_ms: float) -> Sample:
    times = [at for at, event in answer.events if content_of(event)]
    error = answer.error or ("" if times else "The answer holds no text.")
    return Sample(
        number=number,
        ok=not error,
        error=error,
        prompt_tokens=answer.tokens("prompt_tokens"),
        cached_tokens=_cached(answer),
        completion_tokens=answer.tokens("completion_tokens"),
        ttft_ms=times[0] if times else None,
        e2el_ms=answer.duration_ms,
        stage=stage,
        started_ms=started_ms,
        gaps=[later - earlier for earlier, later in zip(times, times[1:], strict=False)],
    )


def _cached(answer: Answer) -> int | None:
    details = answer.usage.get("prompt_tokens_details")
    count = details.get("cached_tokens") if isinstance(details, dict) else None
    return count if type(count) is int and count >= 0 else None


class Measurement:
    """The requests of a load, sent by a separate thread: `with Measurement(target, load) as measurement`.

    Leaving the block before the last sample cancels the requests in flight. `sent` is complete after the block.
    """

    def __init__(self, target: Target, load: Load, sent: list[Sent] | None = None) -> None:
        self._target, self._load, self._sent = target, load, sent
        self._samples: SimpleQueue[Sample | None] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None]
        self._thread = threading.Thread(target=self._run, name="profile", daemon=True)
        self._began = 0.0

    def __enter__(self) -> Measurement:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def batches(self, every: float) -> Iterator[list[Sample]]:
        """Yields the new samples at least every `every` seconds, an empty list without any; ends after the last.

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
        """The next sample; None after the last; Empty when none arrives in time."""
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
        self._began = perf_counter()
        async with (
            Asker(self._target, connections=self._load.concurrency, keep_alive=True, sent=self._sent) as ask,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(min(self._load.concurrency, self._load.requests)):
                group.create_task(self._send_all(ask, numbers))

    async def _send_all(self, ask: Asker, numbers: Iterator[int]) -> None:
        for number in numbers:
            body = self._load.body(number)
            started_ms = (perf_counter() - self._began) * 1000
            answer = await ask.ask(self._load.path, body, seconds=REQUEST_SECONDS)
            self._samples.put(sample_of(number, answer, stage=self._load.stage, started_ms=started_ms))
