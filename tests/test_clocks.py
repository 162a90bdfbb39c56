"""A clock that stands still while the process does."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_app import clocks
from models_app.clocks import AwakeClock

SLACK = 0.05


class Source:
    """A monotonic clock that can jump, as it does while a process stands still."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def __call__(self) -> float:
        return monotonic() + self.jumped


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    source = Source()
    monkeypatch.setattr(clocks, "_clock", AwakeClock(source))
    return source


@given(st.lists(st.floats(min_value=0.0, max_value=1e6), max_size=50))
def test_each_gap_counts_for_a_second_at_most(gaps: list[float]) -> None:
    now = [0.0]
    clock = AwakeClock(lambda: now[0])
    for gap in gaps:
        now[0] += gap
        clock.read()
    assert clock.read() == pytest.approx(sum(min(gap, 1.0) for gap in gaps), rel=1e-6, abs=1e-6)
    assert clock.read() + clock.missed() == pytest.approx(sum(gaps), rel=1e-6, abs=1e-6)


def test_a_clock_that_goes_back_changes_nothing() -> None:
    now = [100.0]
    clock = AwakeClock(lambda: now[0])
    now[0] = 50.0
    assert (clock.read(), clock.missed()) == (0.0, 0.0)
    now[0] = 50.5
    assert clock.read() == 0.5


def test_time_passes_while_the_process_runs() -> None:
    began = clocks.awake()
    before = monotonic()
    threading.Event().wait(0.1)
    assert clocks.awake() - began == pytest.approx(monotonic() - before, abs=SLACK)


def test_a_wait_is_not_shortened_by_a_standstill(source: Source) -> None:
    event, began = threading.Event(), monotonic()
    threading.Timer(0.05, lambda: setattr(source, "jumped", 3600.0)).start()
    assert not clocks.wait(event, 1.2)
    # The standstill itself counts for one second.
    assert monotonic() - began >= 0.2 - SLACK
    threading.Timer(0.05, event.set).start()
    assert clocks.wait(event, 60.0)


async def standing_still(source: Source) -> float:
    """Seconds until a time-out of 1.3 seconds, with a standstill of an hour in it."""
    began = monotonic()
    with pytest.raises(TimeoutError):
        async with clocks.timeout(1.3):
            source.jumped = 3600.0
            await asyncio.Event().wait()
    return monotonic() - began


def test_a_timeout_is_not_shortened_by_a_standstill(source: Source) -> None:
    assert 0.3 - SLACK <= asyncio.run(standing_still(source)) < 5.0


async def in_time() -> None:
    async with clocks.timeout(0.05):
        pass
    # The timer is gone with its block.
    await asyncio.sleep(0.1)


def test_work_that_ends_in_time_is_not_interrupted() -> None:
    asyncio.run(in_time())


async def cancelled() -> None:
    async with clocks.timeout(60.0):
        await asyncio.Event().wait()


def test_a_cancel_from_elsewhere_stays_a_cancel() -> None:
    async def main() -> None:
        task = asyncio.create_task(cancelled())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
