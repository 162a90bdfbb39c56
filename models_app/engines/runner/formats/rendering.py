"""Renders a model's chat template in processes that can hang or die, without the streams of others noticing.

There are two lanes. In the fast one a rendering has a fraction of a second, far more than a real one takes, so nothing
waits there for long. What exceeds that begins again in the slow lane, one at a time: a client that sends such
conversations competes with itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import socket
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models_app import clocks
from models_app.domain.errors import InvalidRequest, LoadFailed, Unavailable
from models_app.domain.traffic.conversation import Message
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs
from models_app.engines.runner.formats import render_child
from models_app.engines.runner.formats.manners import Manner
from models_app.engines.runner.programs import Program

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of wall time and of processor time of one rendering."""

    wall: float
    processor: float


# A template cannot sleep: wall time passes without processor time only on a busy machine, which is not its fault.
FAST = Limits(wall=2.0, processor=0.25)
# While the slow lane is full: what would not fit there anyway should not hold up the fast one.
CROWDED = Limits(wall=1.0, processor=0.1)
# Real templates compile in 50 ms, and render ten thousand messages in some 100 ms.
SLOW = Limits(wall=8.0, processor=2.0)
_FAST_PROCESSES = 2
_SLOW_WAITING = 4
# Slow renderings yield to the decode thread.
_SLOW_NICE = 5
# Conversations that were too slow are refused at once when they are sent again.
_REMEMBERED = 256
# For a process that the kernel does not end, and on a machine that is much too busy.
_GRACE_SECONDS = 20.0
_READ_BYTES = 256 * 1024
# A process that died so early has not died of its time.
_EARLY = 0.8


class _Died(Exception):
    """The process ended without an answer; `late` if its time was over.

    interrupted  this process has stood still meanwhile, as can the other, whose alarm counts that: it is no reason
    """

    def __init__(self, *, late: bool, interrupted: bool = False) -> None:
        super().__init__("too slow" if late else "crashed")
        self.late, self.interrupted = late, interrupted


class _Rejected(Exception):
    """The template failed or refused; the text is the reason."""


@dataclass(eq=False)
class _Process:
    channel: socket.socket
    received: bytearray = field(default_factory=bytearray)
    used: bool = False

    async def ask(self, body: bytes, limits: Limits) -> str:
        """Raises _Died and _Rejected."""
        began, missed = clocks.awake(), clocks.missed()
        loop = asyncio.get_running_loop()
        try:
            async with clocks.timeout(limits.wall + _GRACE_SECONDS):
                await loop.sock_sendall(self.channel, struct.pack("<I", len(body)) + body)
                answer = await self._answer(loop)
        except (ConnectionError, TimeoutError):
            late = clocks.awake() - began >= _EARLY * min(limits.wall, limits.processor)
            raise _Died(late=late, interrupted=clocks.missed() > missed) from None
        self.used = True
        text = answer[1:].decode("utf-8", "surrogatepass")
        if answer[:1] == b"E":
            raise _Rejected(text)
        return text

    async def _answer(self, loop: asyncio.AbstractEventLoop) -> bytes:
        await self._receive(loop, 4)
        length = 4 + int.from_bytes(self.received[:4], "little")
        await self._receive(loop, length)
        answer = bytes(self.received[4:length])
        del self.received[:length]
        return answer

    async def _receive(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        while len(self.received) < count:
            data = await loop.sock_recv(self.channel, _READ_BYTES)
            if not data:
                raise ConnectionResetError
            self.received += data


class Renderer:
    """One model's template. After `open`: `manner` is detected by rendering it, `supports_developer` from its text."""

    def __init__(
        self,
        source: str,
        *,
        bos: str,
        eos: str,
        with_tools: str = "",
        mode: Mode = Mode.AUTO,
        longest: Limits = SLOW,
    ) -> None:
        """`with_tools`: another template for conversations with tools. `longest`: the limits of a compilation and of a
        rendering in the slow lane."""
        self._first = {"source": source, "with_tools": with_tools, "bos": bos, "eos": eos}
        self._longest = longest
        self._program = Program((*programs.module(render_child.__name__), mode.value))
        self._fast = asyncio.Semaphore(_FAST_PROCESSES)
        self._slow = asyncio.Lock()
        self._waiting = 0
        self._idle: list[_Process] = []
        self._idle_slow: list[_Process] = []
        self._too_slow: OrderedDict[bytes, None] = OrderedDict()
        self.manner = Manner()
        self.supports_developer = "developer" in source

    @property
    def supports_tools(self) -> bool:
        return self.manner.tools

    async def open(self) -> None:
        """Raises LoadFailed (stage `template`) when the text does not compile or cannot render the simplest
        conversation."""
        try:
            process, self.manner = await self._start(nice=0)
        except _Rejected as error:
            raise LoadFailed(f"The model's chat template cannot be used: {error}.", stage="template") from error
        except _Died as error:
            raise LoadFailed(
                f"The model's chat template cannot be used: {self._why(error)}.", stage="template"
            ) from error
        except Unavailable as error:
            raise LoadFailed(error.message, stage="template") from error
        self._idle.append(process)

    async def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt, with every text of the conversation.

        Raises InvalidRequest (`template_error`) when the template rejects the conversation, fails, takes too long or
        leaves out what the user writes, and Unavailable (`template_busy`) when too many slow ones wait.
        """
        if "user" in self.manner.lost:
            raise _refusal("it leaves out what the user writes. Load a model whose file has another chat template")
        body = json.dumps({"messages": list(messages), "tools": list(tools), "options": options or {}}).encode()
        try:
            return await self._render(body)
        except _Rejected as error:
            raise _refusal(str(error)) from error
        except _Died as error:
            raise _refusal(self._why(error)) from error

    async def close(self) -> None:
        for process in (*self._idle, *self._idle_slow):
            process.channel.close()
        await asyncio.get_running_loop().run_in_executor(None, self._program.close)

    async def _render(self, body: bytes) -> str:
        if self._too_slow and hashlib.sha256(body).digest() in self._too_slow:
            raise _Died(late=True)
        try:
            async with self._fast:
                return await self._try(body, self._idle, self._patience(), nice=0)
        except _Died as error:
            if not error.late:
                raise
        if self._is_crowded():
            raise Unavailable(
                "The model's chat template takes long for this conversation, and others like it wait already. Try "
                "again later, or send fewer or shorter messages.",
                code="template_busy",
                retry_after=math.ceil(self._longest.processor),
            )
        self._waiting += 1
        try:
            async with self._slow:
                return await self._try(body, self._idle_slow, self._longest, nice=_SLOW_NICE)
        except _Died as error:
            if error.late:
                self._remember(body)
            raise
        finally:
            self._waiting -= 1

    def _why(self, error: _Died) -> str:
        if error.late:
            return f"it takes more than {self._longest.processor:g} s"
        return "it crashes the process that renders it"

    def _is_crowded(self) -> bool:
        return self._waiting > _SLOW_WAITING

    def _patience(self) -> Limits:
        return CROWDED if self._is_crowded() else FAST

    def _remember(self, body: bytes) -> None:
        self._too_slow[hashlib.sha256(body).digest()] = None
        if len(self._too_slow) > _REMEMBERED:
            self._too_slow.popitem(last=False)

    async def _try(self, body: bytes, idle: list[_Process], limits: Limits, *, nice: int) -> str:
        """In a process of `idle`, or a new one. One that had died before is replaced: this request did not end it."""
        message = _limited(body, limits)
        while True:
            process = idle.pop() if idle else (await self._start(nice=nice))[0]
            fresh = not process.used
            ended = True
            try:
                text = await process.ask(message, limits)
                ended = False
                return text
            except _Rejected:
                ended = False
                raise
            except _Died as error:
                if not error.interrupted and (error.late or fresh):
                    raise
            finally:
                # Also at a cancellation: the answer would be taken for the next one.
                if ended:
                    process.channel.close()
                else:
                    idle.append(process)

    async def _start(self, *, nice: int) -> tuple[_Process, Manner]:
        """A new process, and the manner of the template. Raises _Rejected, _Died and Unavailable."""
        while True:
            try:
                return await self._begin(nice)
            except _Died as error:
                if not error.interrupted:
                    raise

    async def _begin(self, nice: int) -> tuple[_Process, Manner]:
        channel = self._program.open()
        process = _Process(channel)
        try:
            first = json.dumps(self._first | {"nice": nice}).encode()
            manner = await process.ask(_limited(first, self._longest), self._longest)
        except BaseException:
            channel.close()
            raise
        process.used = False
        found = json.loads(manner)
        return process, Manner(**found | {"lost": tuple(found["lost"])})


def _refusal(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The model's chat template rejects this conversation: {why}.", code="template_error", param="messages"
    )


def _limited(body: bytes, limits: Limits) -> bytes:
    return struct.pack("<dd", limits.wall, limits.processor) + body
