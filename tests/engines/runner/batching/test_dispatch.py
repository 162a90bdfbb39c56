"""Events of the decode thread reach the callbacks of their requests, and the drain of a runner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from models_app.domain.errors import Draining, NoaError, Unavailable
from models_app.engines import marks
from models_app.engines.runner.batching.dispatch import Dispatch, Drain
from models_app.engines.runner.batching.generation import Embedded, Embedding, Event, Failed, Finished, Piece, Work

LAST: list[Event] = [Finished("stop", 1, 0, 1), Embedded([1.0], 1), Failed(NoaError("x"))]
WAIT = 30.0


class Engine:
    """Records what it receives, or refuses all work."""

    def __init__(self) -> None:
        self.submitted: list[Work] = []
        self.cancelled: list[Work] = []
        self.full = False

    def submit(self, work: Work) -> None:
        if self.full:
            raise Unavailable("full")
        self.submitted.append(work)

    def cancel(self, work: Work) -> None:
        self.cancelled.append(work)


def run(scene: Callable[[Dispatch, Engine], Awaitable[None]]) -> None:
    """Fails also for an error in a callback of the loop, which would only be logged."""
    errors: list[dict[str, Any]] = []

    async def play() -> None:
        engine, loop = Engine(), asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        dispatch = Dispatch(loop)
        dispatch.attach(engine)
        await scene(dispatch, engine)

    asyncio.run(play())
    assert errors == []


async def deliver(dispatch: Dispatch, *events: tuple[Work, Event]) -> None:
    """From another thread, as the decode thread does; returns when the loop has routed them."""
    thread = threading.Thread(target=dispatch.deliver, args=(list(events),))
    thread.start()
    thread.join()
    await asyncio.sleep(0)


@pytest.mark.parametrize("last", LAST, ids=lambda event: type(event).__name__)
def test_each_work_gets_its_own_events_in_order_until_its_last(last: Event) -> None:
    async def scene(dispatch: Dispatch, engine: Engine) -> None:
        one, other = Embedding([1]), Embedding([2])
        got: dict[str, list[Event]] = {"one": [], "other": []}
        dispatch.submit(one, got["one"].append)
        dispatch.submit(other, got["other"].append)
        assert engine.submitted == [one, other]
        first, second, third = Piece("1"), Piece("2"), Piece("3")
        await deliver(dispatch, (one, first), (other, second), (one, third))
        await deliver(dispatch, (one, last), (one, Piece("late")), (other, first))
        await deliver(dispatch, (one, last))
        assert got == {"one": [first, third, last], "other": [second, first]}
        dispatch.cancel(one)
        assert engine.cancelled == []

    run(scene)


def test_events_are_delivered_on_the_loops_thread() -> None:
    async def scene(dispatch: Dispatch, _: Engine) -> None:
        work, threads = Embedding([1]), list[threading.Thread]()
        dispatch.submit(work, lambda _: threads.append(threading.current_thread()))
        await deliver(dispatch, (work, Piece("a")))
        assert threads == [threading.current_thread()]

    run(scene)


def test_a_work_carries_the_id_of_its_request() -> None:
    async def scene(dispatch: Dispatch, _: Engine) -> None:
        work = Embedding([1])
        token = marks.current.set("req-1")
        dispatch.submit(work, lambda _: None)
        marks.current.reset(token)
        assert work.request == "req-1"

    run(scene)


def test_work_that_the_engine_refuses_gets_no_events() -> None:
    async def scene(dispatch: Dispatch, engine: Engine) -> None:
        work, got = Embedding([1]), list[Event]()
        engine.full = True
        with pytest.raises(Unavailable):
            dispatch.submit(work, got.append)
        await deliver(dispatch, (work, LAST[0]))
        dispatch.cancel(work)
        assert (got, engine.cancelled) == ([], [])

    run(scene)


def test_cancelled_work_gets_no_more_events_and_is_cancelled_once() -> None:
    async def scene(dispatch: Dispatch, engine: Engine) -> None:
        work, got = Embedding([1]), list[Event]()
        dispatch.submit(work, got.append)
        dispatch.cancel(work)
        dispatch.cancel(work)
        dispatch.end(work)
        await deliver(dispatch, (work, Piece("a")), (work, LAST[0]))
        assert (got, engine.cancelled) == ([], [work])

    run(scene)


def test_work_that_is_ended_still_gets_its_last_event() -> None:
    async def scene(dispatch: Dispatch, engine: Engine) -> None:
        work, got = Embedding([1]), list[Event]()
        dispatch.submit(work, got.append)
        dispatch.end(work)
        last = Finished("cancelled", 1, 0, 1)
        await deliver(dispatch, (work, last))
        dispatch.end(work)
        assert (got, engine.cancelled) == ([last], [work])

    run(scene)


def test_an_answer_that_cannot_be_written_ends_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(dispatch: Dispatch, engine: Engine) -> None:
        broken, other = Embedding([1]), Embedding([2])
        got: list[Event] = []
        others: list[Event] = []

        def write(event: Event) -> None:
            got.append(event)
            if isinstance(event, Piece):
                raise RuntimeError("cannot be written")

        dispatch.submit(broken, write)
        dispatch.submit(other, others.append)
        piece = Piece("a")
        await deliver(dispatch, (broken, piece), (other, piece), (broken, piece))
        assert got[0] is piece
        (failed,) = got[1:]
        assert isinstance(failed, Failed)
        assert failed.error.message == "Internal error of the runner. Its log has the details."
        assert (others, engine.cancelled) == ([piece], [broken])

    run(scene)
    assert "cannot be written" in caplog.text


def drained(scene: Callable[[Drain], Awaitable[Any]]) -> None:
    async def play() -> None:
        await scene(Drain())

    asyncio.run(play())


def test_requests_in_flight_are_counted() -> None:
    async def scene(drain: Drain) -> None:
        assert (drain.in_flight, drain.draining) == (0, False)
        with drain:
            with drain:
                assert drain.in_flight == 2
            assert drain.in_flight == 1
        with pytest.raises(ZeroDivisionError), drain:
            raise ZeroDivisionError
        assert (drain.in_flight, drain.draining) == (0, False)

    drained(scene)


def test_idle_time_counts_from_the_last_use_and_not_during_a_request() -> None:
    async def scene(_: Drain) -> None:
        begin = monotonic()
        drain = Drain()
        assert 0.0 <= drain.idle_seconds <= monotonic() - begin
        with drain:
            assert drain.idle_seconds == 0.0
        while drain.idle_seconds == 0.0:
            pass
        used = monotonic()
        drain.used()
        assert 0.0 <= drain.idle_seconds <= monotonic() - used

    drained(scene)


def test_a_drain_refuses_new_requests() -> None:
    async def scene(drain: Drain) -> None:
        assert await drain.start(WAIT) == 0
        with pytest.raises(Draining), drain:
            raise AssertionError("the request was accepted")
        assert (drain.in_flight, drain.draining) == (0, True)

    drained(scene)


def test_a_drain_ends_with_the_last_request() -> None:
    async def scene(drain: Drain) -> None:
        with drain:
            with drain:
                waiting = asyncio.create_task(drain.start(WAIT))
                await asyncio.sleep(0)
                assert drain.draining
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
        begin = monotonic()
        assert await waiting == 0
        assert monotonic() - begin < WAIT / 2

    drained(scene)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_drain_reports_what_is_in_flight_after_its_time(seconds: float) -> None:
    async def scene(drain: Drain) -> None:
        with drain, drain:
            begin = monotonic()
            assert await drain.start(seconds) == 2
            assert seconds <= monotonic() - begin < WAIT / 2
            assert drain.draining

    drained(scene)


def test_a_drain_if_idle_leaves_a_busy_runner_in_service() -> None:
    async def scene(drain: Drain) -> None:
        with drain:
            assert drain.start_if_idle() is False
            assert drain.draining is False
            with drain:
                assert drain.in_flight == 2
        assert drain.start_if_idle() is True
        with pytest.raises(Draining), drain:
            raise AssertionError("the request was accepted")

    drained(scene)


def test_a_runner_that_drains_already_says_so_while_it_is_busy() -> None:
    async def scene(drain: Drain) -> None:
        with drain:
            await drain.start(0)
            assert drain.start_if_idle() is True

    drained(scene)
