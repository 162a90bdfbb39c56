"""One request's generations, from their submission to the decode thread to the end of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from models_app.domain.errors import EngineError
from models_app.engines.runner.batching.dispatch import Dispatch
from models_app.engines.runner.batching.generation import (
    Event,
    Failed,
    Finished,
    Generation,
    Piece,
    Sampling,
    TokenChoice,
)
from models_app.engines.runner.endpoints import answers
from models_app.engines.runner.endpoints.answers import Chunks, Usage
from models_app.engines.runner.formats.tools import Found, ToolCall, ToolCallReader
from models_app.engines.runner.http import Request

# llama.cpp's seeds have 32 bits, and the highest means a random seed.
_SEEDS = 2**32 - 1


@dataclass(eq=False, slots=True)
class Choice:
    """One of the requested answers. `counts_prompt`: the prompt counts once for all its choices."""

    index: int
    work: Generation
    counts_prompt: bool = True
    reader: ToolCallReader | None = None
    text: list[str] = field(default_factory=list)
    length: int = 0  # of `text`, in characters
    calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenChoice] = field(default_factory=list)
    reason: str = ""
    # The client's stop string that ended it.
    stop: str = ""
    begun: bool = False
    # Text that comes before the answer.
    echo: str = ""
    # The request forces this call: as at OpenAI, the answer then ends as one without calls.
    is_forced: bool = False

    def feed(self, text: str) -> Sequence[Found]:
        return self.reader.feed(text) if self.reader else (text,)

    def end(self, finished: Finished) -> Sequence[Found]:
        """The rest of the buffered text; sets the finish reason."""
        rest = self.reader.finish() if self.reader else ()
        called = self.reader is not None and self.reader.calls > 0
        self.reason, self.stop = finished.reason, finished.stop
        if called and finished.reason == "stop":
            # A stop string of a call is not the client's.
            self.reason, self.stop = "stop" if self.is_forced else "tool_calls", ""
        return rest


def choices_for(
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    n: int,
    first: int = 0,
    tools: bool = False,
    forced: bool = False,
    echo: str = "",
) -> list[Choice]:
    """`n` choices of one prompt, numbered from `first`; with a seed each gets the next one."""
    choices = []
    for number in range(n):
        seed = None if sampling.seed is None else (sampling.seed + number) % _SEEDS
        work = Generation(prompt, replace(sampling, seed=seed))
        reader = ToolCallReader() if tools else None
        choices.append(
            Choice(first + number, work, counts_prompt=number == 0, reader=reader, echo=echo, is_forced=forced)
        )
    return choices


class Run:
    """Runs all choices of a request and collects them."""

    def __init__(self, dispatch: Dispatch, choices: Sequence[Choice]) -> None:
        self.choices = choices
        self.usage = Usage()
        # The client has left: only the usage is wanted.
        self.was_left = False
        self._dispatch = dispatch
        self._left = len(choices)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finish(self) -> None:
        """Return when every choice has ended; raises the error of the first that failed. Cancelling it cancels them."""
        try:
            for choice in self.choices:
                self._dispatch.submit(choice.work, partial(self._on_event, choice))
            await self._done
        finally:
            for choice in self.choices:
                self._dispatch.cancel(choice.work)

    def leave(self) -> None:
        """Ends all choices early; `finish` then returns, and `usage` has their tokens so far."""
        self.was_left = True
        for choice in self.choices:
            self._dispatch.end(choice.work)

    def respond_usage(self, request: Request) -> None:
        """The response to a client that has left, which may have received a part of another one."""
        if request.started:
            request.write(answers.usage_comment(self.usage))
            request.end()
        else:
            request.respond(200, {"usage": self.usage.as_dict()})

    def _on_event(self, choice: Choice, event: Event) -> None:
        if self._done.done():
            return
        if self.was_left:
            self._on_last_event(choice, event)
        elif isinstance(event, Piece):
            choice.logprobs += event.logprobs
            self._add(choice, choice.feed(event.text))
        elif isinstance(event, Failed):
            self._done.set_exception(event.error)
        elif isinstance(event, Finished):
            self._on_finished(choice, event)

    def _on_finished(self, choice: Choice, event: Finished) -> None:
        if event.reason == "cancelled":
            self._done.set_exception(EngineError("The runner stopped before the answer was complete."))
            return
        self._add(choice, choice.end(event))
        self.end_choice(choice)
        self._count(choice, event)

    def _on_last_event(self, choice: Choice, event: Event) -> None:
        if isinstance(event, Finished):
            self._count(choice, event)
        elif isinstance(event, Failed):
            self._done.set_exception(event.error)

    def _count(self, choice: Choice, event: Finished) -> None:
        self.usage.add(event, first_choice=choice.counts_prompt)
        self._left -= 1
        if not self._left:
            self._done.set_result(None)

    def _add(self, choice: Choice, found: Sequence[Found]) -> None:
        self.begin(choice)
        if choice.echo:
            text, choice.echo = choice.echo, ""
            self.add_text(choice, text)
        for item in found:
            if isinstance(item, str):
                self.add_text(choice, item)
            else:
                choice.calls.append(item)
                self.add_call(choice, item)

    def begin(self, choice: Choice) -> None:
        """Hook: a stream sends its head before the first event of a choice."""

    def add_text(self, choice: Choice, text: str) -> None:
        choice.text.append(text)

    def add_call(self, choice: Choice, call: ToolCall) -> None:
        """Hook: a stream sends the call, which is already collected."""

    def end_choice(self, choice: Choice) -> None:
        """Hook: a stream sends the finish reason."""


class Stream(Run):
    """Writes every piece to the client as it arrives. The head of the answer waits for the first event, so that
    an earlier failure is answered with its own status."""

    def __init__(
        self,
        dispatch: Dispatch,
        choices: Sequence[Choice],
        request: Request,
        chunks: Chunks,
        *,
        chat: bool,
        continuous_usage: bool = False,
    ) -> None:
        """`continuous_usage`: the first chunk states the length of the prompt."""
        super().__init__(dispatch, choices)
        request.on_left = self.leave
        self._request = request
        self._chunks = chunks
        self._chat = chat
        self._continuous_usage = continuous_usage

    def add_text(self, choice: Choice, text: str) -> None:
        if not (text or choice.logprobs):
            return
        logprobs = self._logprobs(choice)
        choice.length += len(text)
        self._request.write(self._chunks.text(choice.index, text, logprobs))

    def add_call(self, choice: Choice, call: ToolCall) -> None:
        delta = {"tool_calls": [{"index": len(choice.calls) - 1, **call.as_dict()}]}
        self._request.write(self._chunks.delta(choice.index, delta))

    def end_choice(self, choice: Choice) -> None:
        self._request.write(self._chunks.finish(choice.index, choice.reason, choice.stop))

    def close(self, *, include_usage: bool) -> None:
        if self.was_left:
            self.respond_usage(self._request)
            return
        if include_usage:
            self._request.write(self._chunks.usage(self.usage))
        self._request.write(answers.usage_comment(self.usage) + answers.DONE)
        self._request.end()

    def begin(self, choice: Choice) -> None:
        if not self._request.started:
            self._request.start_stream()
        if self._chat and not choice.begun:
            choice.begun = True
            first = {"role": "assistant", "content": ""}
            usage = Usage(prompt_tokens=len(choice.work.prompt)) if self._continuous_usage else None
            self._request.write(self._chunks.delta(choice.index, first, usage=usage))

    def _logprobs(self, choice: Choice) -> Any:
        if not choice.logprobs:
            return None
        arrived, choice.logprobs = tuple(choice.logprobs), []
        if self._chat:
            return answers.chat_logprobs(arrived)
        return answers.completion_logprobs(arrived, choice.length)
