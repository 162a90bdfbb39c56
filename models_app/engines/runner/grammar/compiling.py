"""Checks in a child process, which can crash, whether llama.cpp can compile a grammar."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Sequence

from models_app.domain.errors import InvalidRequest, Unavailable

logger = logging.getLogger(__name__)

CHILD_COMMAND = (sys.executable, "-m", "models_app.engines.runner.grammar.child")
# The child limits itself to two seconds per grammar; this is for a child that hangs beyond that.
_ANSWER_SECONDS = 5.0
# Importing llama-cpp-python takes half a second on an idle machine.
_START_SECONDS = 30.0
_REMEMBERED = 512


class GrammarCheck:
    """One child, started at the first check and restarted after a crash. Checks run one at a time."""

    def __init__(self, command: Sequence[str] = CHILD_COMMAND) -> None:
        self._command = command
        self._child: Process | None = None
        self._lock = asyncio.Lock()
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()

    async def require(self, grammar: str, *, param: str) -> None:
        """Raises InvalidRequest (`invalid_schema`) for a grammar that llama.cpp rejects or crashes on."""
        text = grammar.encode()
        digest = hashlib.sha256(text).digest()
        if digest not in self._verdicts:
            async with self._lock:
                if digest not in self._verdicts:
                    self._remember(digest, await self._compiles(text))
        if not self._verdicts[digest]:
            raise InvalidRequest(
                "The schema leads to a grammar that llama.cpp cannot use. Make it smaller or simpler.",
                code="invalid_schema",
                param=param,
            )

    async def close(self) -> None:
        await self._end()

    def _remember(self, digest: bytes, verdict: bool) -> None:
        self._verdicts[digest] = verdict
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    async def _compiles(self, text: bytes) -> bool:
        child = await self._ready_child()
        assert child.stdin is not None and child.stdout is not None
        answered = False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                child.stdin.write(len(text).to_bytes(4, "big") + text)
                verdict = await child.stdout.read(1)
            answered = verdict != b""
        except (TimeoutError, ConnectionError):
            verdict = b""
        finally:
            # Also on cancellation: the child's pending answer would be taken for the next one.
            if not answered:
                logger.warning("the grammar check crashed, timed out or was cancelled")
                await self._end()
        return verdict == b"1"

    async def _ready_child(self) -> Process:
        if self._child and self._child.returncode is None:
            return self._child
        self._child = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        assert self._child.stdout is not None
        started = b""
        try:
            async with asyncio.timeout(_START_SECONDS):
                started = await self._child.stdout.read(1)
        except TimeoutError:
            logger.error("the grammar check did not start within %g s", _START_SECONDS)
        finally:
            if not started:
                await self._end()
        if not started:
            raise Unavailable("Grammars cannot be checked at the moment. Try again, or without a schema.")
        return self._child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
