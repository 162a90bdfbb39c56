"""Concurrent callers share one call and its result; a call that hangs holds one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from models_app.gateway.http.single_flight import SingleFlight


def flight(work: Callable[[], int]) -> SingleFlight[int]:
    return SingleFlight("test", work, initial=0, failure=lambda error: -1)


def test_concurrent_callers_share_one_call() -> None:
    gate, calls = threading.Event(), [0]

    def work() -> int:
        calls[0] += 1
        gate.wait(10)
        return calls[0]

    async def several() -> list[int]:
        shared = flight(work)
        asyncio.get_running_loop().call_later(0.01, gate.set)
        return await asyncio.gather(*(shared.result(timeout=10, cache=0) for _ in range(5)))

    assert asyncio.run(several()) == [1] * 5


def test_a_result_is_cached_and_then_computed_again() -> None:
    calls: list[int] = []

    def work() -> int:
        calls.append(1)
        return len(calls)

    async def run() -> None:
        cached, uncached = flight(work), flight(work)
        assert cached.last == 0
        assert await cached.result(timeout=10, cache=60) == 1
        assert await cached.result(timeout=10, cache=60) == cached.last == 1
        assert await uncached.result(timeout=10, cache=0) == 2
        assert await uncached.result(timeout=10, cache=0) == 3

    asyncio.run(run())


def test_a_call_that_hangs_is_not_repeated_and_keeps_the_last_result() -> None:
    gate, calls = threading.Event(), [0]

    def work() -> int:
        calls[0] += 1
        gate.wait(10)
        return calls[0]

    async def run() -> None:
        hanging = flight(work)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await hanging.result(timeout=0.01, cache=0)
        assert (hanging.last, calls[0]) == (0, 1)
        gate.set()
        assert await hanging.result(timeout=10, cache=0) >= 1

    asyncio.run(run())


def test_an_error_becomes_a_result_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failing = flight(lambda: 1 // 0)
    assert asyncio.run(failing.result(timeout=10, cache=60)) == failing.last == -1
    assert "the thread 'test' failed" in caplog.text
