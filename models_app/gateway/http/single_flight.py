"""Shares one blocking call between all requests that need its result."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from models_app import clocks

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """Runs `work`, which can block or hang, on at most one thread at a time."""

    def __init__(
        self, name: str, work: Callable[[], Result], *, initial: Result, failure: Callable[[Exception], Result]
    ) -> None:
        """`initial` is the value of `last` before the first result; `failure` makes the result of an error of `work`,
        which is logged."""
        self.name = name
        self.last = initial
        self._work = work
        self._failure = failure
        self._expires = 0.0
        self._running: Future[Result] | None = None

    async def result(self, *, timeout: float, cache: float) -> Result:
        """The last result for `cache` seconds, then a new one.

        Raises TimeoutError after `timeout` seconds; the call continues, and the next caller waits for it.
        """
        if time.monotonic() < self._expires:
            return self.last
        if self._running is None or self._running.done():
            self._running = self._begin()
        async with clocks.timeout(timeout):
            found = await asyncio.shield(asyncio.wrap_future(self._running))
        self.last, self._expires = found, time.monotonic() + cache
        return found

    def _begin(self) -> Future[Result]:
        running: Future[Result] = Future()
        # Not of a pool: the process would wait for a pool's threads at its end, and this one can hang.
        threading.Thread(target=self._run, args=(running,), name=self.name, daemon=True).start()
        return running

    def _run(self, running: Future[Result]) -> None:
        try:
            running.set_result(self._work())
        except Exception as error:
            logger.exception("the thread '%s' failed", self.name)
            running.set_result(self._failure(error))
