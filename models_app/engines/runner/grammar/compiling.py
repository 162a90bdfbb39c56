"""Checks in a process of its own whether grammars can be enforced."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from models_app import clocks
from models_app.domain.errors import Unavailable
from models_app.engines.runner.grammar.channels import GrammarProgram

logger = logging.getLogger(__name__)

# A process limits itself to seconds of processor time; this is for a machine that is much too busy.
_ANSWER_SECONDS = 20.0
# Importing llama-cpp-python takes half a second on an idle machine, and reading a large vocabulary as long again.
_START_SECONDS = 30.0
_REMEMBERED = 512
# At once: one client's slow schemas delay the checks of others by some seconds at most.
_CONCURRENT = 4
# llguidance's reasons are short, but for the patterns in them.
_MAX_REASON = 4096


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason`: why a grammar cannot be enforced, in llguidance's words; empty if it can.

    `slow`: it takes too much time or memory.
    """

    reason: str = ""
    slow: bool = False

    @property
    def good(self) -> bool:
        return not self.reason and not self.slow


class GrammarCheck:
    """Verdicts on grammars, each remembered."""

    def __init__(self, program: GrammarProgram) -> None:
        self._program = program
        self._places = asyncio.Semaphore(_CONCURRENT)
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()

    async def verdict(self, grammar: str) -> Verdict:
        """Raises Unavailable when the machine is too busy to check it."""
        return (await self.verdicts([grammar]))[0]

    async def verdicts(self, grammars: Sequence[str]) -> list[Verdict]:
        """One for each grammar. One process checks all that are not known, within the limits of one: grammars after a
        slow one have its verdict."""
        digests = [hashlib.sha256(text.encode()).digest() for text in grammars]
        known = {digest: self._verdicts[digest] for digest in digests if digest in self._verdicts}
        unknown = {digest: text for digest, text in zip(digests, grammars, strict=True) if digest not in known}
        if unknown:
            async with self._places:
                found = await self._check(list(unknown.values()))
            for digest, verdict in zip(unknown, found, strict=False):
                self._remember(digest, verdict)
                known[digest] = verdict
        return [known.get(digest, Verdict(slow=True)) for digest in digests]

    def _remember(self, digest: bytes, verdict: Verdict) -> None:
        self._verdicts[digest] = verdict
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    async def _check(self, grammars: Sequence[str]) -> list[Verdict]:
        """Up to the first slow one."""
        found: list[Verdict] = []
        with self._program.open() as channel:
            if await _answer(channel, 1, _START_SECONDS) != b"R":
                raise _busy()
            # The client of a new schema waits for its check; the streams of others do not.
            await _send(channel, b"I")
            for grammar in grammars:
                found.append(await _verdict(channel, grammar.encode()))
                if found[-1].slow:
                    logger.warning("a grammar was refused: its work took too long, or crashed")
                    break
        return found


async def _verdict(channel: socket.socket, text: bytes) -> Verdict:
    await _send(channel, b"G" + struct.pack("<I", len(text)) + text)
    size = await _answer(channel, 4, _ANSWER_SECONDS)
    if len(size) < 4:
        return Verdict(slow=True)
    count = int.from_bytes(size, "little")
    reason = await _answer(channel, count, _ANSWER_SECONDS)
    return Verdict(reason[:_MAX_REASON].decode(errors="replace"))


async def _send(channel: socket.socket, data: bytes) -> None:
    """A process that has ended is noticed where its answer is read."""
    try:
        await asyncio.get_running_loop().sock_sendall(channel, data)
    except ConnectionError:
        logger.debug("the process of a grammar ended while it was read")


async def _answer(channel: socket.socket, count: int, seconds: float) -> bytes:
    """`count` bytes; fewer at the end of the process. Raises Unavailable after `seconds`, which are no verdict."""
    received = b""
    try:
        async with clocks.timeout(seconds):
            while len(received) < count:
                data = await asyncio.get_running_loop().sock_recv(channel, count - len(received))
                if not data:
                    break
                received += data
    except ConnectionError:
        return b""
    except TimeoutError:
        raise _busy() from None
    return received


def _busy() -> Unavailable:
    return Unavailable(
        "The schema cannot be checked at the moment: the machine is too busy. Try again.", code="grammar_check_busy"
    )
