"""Checks in a process of its own whether llama.cpp can compile a grammar, and whether it is fast enough."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import struct
from collections import OrderedDict

from models_app import clocks
from models_app.domain.errors import Unavailable
from models_app.engines.runner.grammar import channels
from models_app.engines.runner.grammar.channels import GrammarProgram

logger = logging.getLogger(__name__)

# A process limits itself to seconds of processor time; this is for a machine that is much too busy.
_ANSWER_SECONDS = 20.0
# Importing llama-cpp-python takes half a second on an idle machine, and reading a large vocabulary as long again.
_START_SECONDS = 30.0
_REMEMBERED = 512
# At once: one client's slow schemas delay the checks of others by a second at most.
_CONCURRENT = 4


class GrammarCheck:
    """Verdicts on grammars, each remembered."""

    def __init__(self, program: GrammarProgram) -> None:
        self._program = program
        self._places = asyncio.Semaphore(_CONCURRENT)
        # Empty for a good grammar, else the code of its refusal.
        self._verdicts: OrderedDict[bytes, str] = OrderedDict()

    async def require(self, grammar: str, *, param: str) -> None:
        """Raises InvalidRequest: `invalid_schema` for a grammar that llama.cpp rejects or crashes on, `schema_too_slow`
        for one that takes too long."""
        text = grammar.encode()
        digest = hashlib.sha256(text).digest()
        if digest not in self._verdicts:
            async with self._places:
                if digest not in self._verdicts:
                    self._remember(digest, await self._verdict(text))
        verdict = self._verdicts[digest]
        if verdict == channels.SchemaTooSlow.default_code:
            raise channels.too_slow(param)
        if verdict:
            raise channels.unusable(param)

    def _remember(self, digest: bytes, verdict: str) -> None:
        self._verdicts[digest] = verdict
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    async def _verdict(self, text: bytes) -> str:
        with self._program.open() as channel:
            if await _answer(channel, _START_SECONDS) != b"R":
                raise _busy()
            # The client of a new schema waits for its check; the streams of others do not.
            await _send(channel, b"IG" + struct.pack("<I", len(text)) + text)
            if await _answer(channel, _ANSWER_SECONDS) != b"1":
                return "invalid_schema"
            await _send(channel, b"W")
            if await _answer(channel, _ANSWER_SECONDS) != b"1":
                logger.warning("a grammar was refused: its work took too long, or crashed")
                return channels.SchemaTooSlow.default_code
        return ""


async def _send(channel: socket.socket, data: bytes) -> None:
    """A process that has ended is noticed where its answer is read."""
    try:
        await asyncio.get_running_loop().sock_sendall(channel, data)
    except ConnectionError:
        logger.debug("the process of a grammar ended while it was read")


async def _answer(channel: socket.socket, seconds: float) -> bytes:
    """One byte; nothing at the end of the process. Raises Unavailable after `seconds`, which says nothing about it."""
    try:
        async with clocks.timeout(seconds):
            return await asyncio.get_running_loop().sock_recv(channel, 1)
    except ConnectionError:
        return b""
    except TimeoutError:
        raise _busy() from None


def _busy() -> Unavailable:
    return Unavailable(
        "The schema cannot be checked at the moment: the machine is too busy. Try again.", code="grammar_check_busy"
    )
