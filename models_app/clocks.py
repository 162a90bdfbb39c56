"""A clock that stands still while this process does, for every deadline by which this process judges something else.

A process stands still when its machine is suspended, its container is paused, its virtual machine is moved, or its
memory is swapped out. A monotonic clock goes on meanwhile, and the wall clock jumps: afterwards each of them shows that
everything else is late, although only this process is. `awake` counts the time in which this process could have
noticed an answer. It needs no choice between CLOCK_MONOTONIC and CLOCK_BOOTTIME, which differ in whether they count a
suspended machine: neither gap is counted.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Protocol

from models_app.threads import RepeatingThread

# How often the clock is read, at least.
_TICK_SECONDS = 0.25
# A longer time between two readings is a standstill. A busy machine delays a thread by a tenth of that.
_LONGEST_GAP_SECONDS = 1.0
# Timers are early by less than this.
_EARLY_SECONDS = 0.002


class AwakeClock:
    """Seconds during which it was read at least every `_LONGEST_GAP_SECONDS`. Thread-safe."""

    def __init__(self, source: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._last = source()
        self._awake = 0.0
        self._missed = 0.0

    def read(self) -> float:
        with self._lock:
            now = self._source()
            gap = max(0.0, now - self._last)
            counted = min(gap, _LONGEST_GAP_SECONDS)
            self._last = now
            self._awake += counted
            self._missed += gap - counted
            return self._awake

    def missed(self) -> float:
        """Seconds of all standstills so far."""
        self.read()
        return self._missed


_clock = AwakeClock()
_starting = threading.Lock()
_ticker: RepeatingThread | None = None


def awake() -> float:
    """Seconds for which this process has been running, without its standstills."""
    if _ticker is None:
        _start()
    return _clock.read()


def missed() -> float:
    """Seconds for which this process has stood still. A failure during which it grew proves nothing about others."""
    if _ticker is None:
        _start()
    return _clock.missed()


def _start() -> None:
    """Begin to read the clock regularly. At the first use: most programs have no deadlines."""
    global _ticker
    with _starting:
        if _ticker is None:
            _clock.read()
            _ticker = RepeatingThread("awake-clock", _tick, lambda: _TICK_SECONDS)
            _ticker.start()


def _tick() -> None:
    _clock.read()


def _after_fork() -> None:
    """A forked process has no thread that reads the clock, and its locks can be held by threads that it lacks."""
    global _clock, _starting, _ticker
    _clock, _starting, _ticker = AwakeClock(), threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork)


class Waitable(Protocol):
    """A `threading.Event`, for example."""

    def wait(self, timeout: float) -> bool: ...


def wait(what: Waitable, seconds: float) -> bool:
    """`what.wait(seconds)`, but for so many seconds of this process's own running."""
    deadline = awake() + seconds
    while not what.wait(max(0.0, deadline - awake())):
        if awake() >= deadline:
            return False
    return True


class Timer:
    """`loop.call_later`, but after so many seconds of this process's own running."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], object]) -> None:
        self._loop, self._callback = loop, callback
        self._due = awake() + seconds
        self._handle = loop.call_later(seconds, self._check)

    def cancel(self) -> None:
        self._handle.cancel()

    def _check(self) -> None:
        left = self._due - awake()
        if left > _EARLY_SECONDS:
            self._handle = self._loop.call_later(left, self._check)
        else:
            self._callback()


class timeout:
    """`asyncio.timeout`, but for so many seconds of this process's own running."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        await self._scope.__aenter__()
        self._timer = Timer(loop, self._seconds, lambda: self._scope.reschedule(loop.time()))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)
