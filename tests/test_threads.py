from __future__ import annotations

import threading

import pytest

from models_app.threads import QueueThread, RepeatingThread

SECONDS = 10.0


def test_work_is_done_at_once_and_again_after_a_wake() -> None:
    done = threading.Semaphore(0)
    thread = RepeatingThread("test-repeating", done.release, lambda: 3600.0)
    thread.start()
    assert done.acquire(timeout=SECONDS), "the first repetition"
    thread.wake()
    assert done.acquire(timeout=SECONDS), "the repetition after a wake"
    assert thread.stop(SECONDS)


def test_work_is_repeated_by_the_clock() -> None:
    done = threading.Semaphore(0)
    thread = RepeatingThread("test-repeating", done.release, lambda: 0.001)
    thread.start()
    assert all(done.acquire(timeout=SECONDS) for _ in range(3)), "three repetitions"
    assert thread.stop(SECONDS)


def test_work_that_is_not_due_at_once_waits_for_a_wake() -> None:
    done = threading.Semaphore(0)
    thread = RepeatingThread("test-repeating", done.release, lambda: 3600.0, at_once=False)
    for _ in range(2):
        thread.start()
        assert not done.acquire(blocking=False)
        thread.wake()
        assert done.acquire(timeout=SECONDS), "the repetition after a wake"
        assert thread.stop(SECONDS)
    assert not done.acquire(blocking=False)


def test_a_stopped_thread_can_be_started_again_and_twice_is_once() -> None:
    done = threading.Semaphore(0)
    thread = RepeatingThread("test-repeating", done.release, lambda: 3600.0)
    for _ in range(2):
        thread.start()
        thread.start()
        assert done.acquire(timeout=SECONDS), "one repetition for each start"
        assert thread.stop(SECONDS)
        assert thread.stop(SECONDS)
    assert not done.acquire(blocking=False)


def test_an_error_is_logged_and_the_work_repeated(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Semaphore(0)

    def work() -> None:
        done.release()
        raise LookupError("a defect")

    thread = RepeatingThread("test-repeating", work, lambda: 0.001)
    thread.start()
    assert all(done.acquire(timeout=SECONDS) for _ in range(2)), "a repetition after the error"
    assert thread.stop(SECONDS)
    assert "test-repeating failed" in caplog.text


def test_a_stop_that_is_too_short_says_so() -> None:
    release, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        release.wait(SECONDS)

    thread = RepeatingThread("test-repeating", work, lambda: 3600.0)
    thread.start()
    assert began.wait(SECONDS), "the work begins"
    assert not thread.stop(0.01)
    release.set()


def test_items_are_consumed_in_order_and_all_before_close_returns() -> None:
    seen: list[int] = []
    worker = QueueThread[int]("test-queue", seen.append)
    assert worker.close(SECONDS), "nothing was put yet"
    assert all(worker.put(number) for number in range(100))
    assert worker.close(SECONDS)
    assert seen == list(range(100))


def test_an_item_beyond_the_limit_is_dropped() -> None:
    release, began = threading.Event(), threading.Event()

    def consume(_: int) -> None:
        began.set()
        release.wait(SECONDS)

    worker = QueueThread[int]("test-queue", consume, limit=1)
    assert worker.put(1)
    assert began.wait(SECONDS), "the first item is being consumed"
    assert worker.put(2)
    assert not worker.put(3)
    release.set()
    assert worker.close(SECONDS)


def test_an_item_that_fails_is_logged_without_it_and_the_next_one_follows(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def consume(item: str) -> None:
        if item == "a secret":
            raise LookupError("a defect")
        seen.append(item)

    worker = QueueThread[str]("test-queue", consume)
    worker.put("a secret")
    worker.put("next")
    assert worker.close(SECONDS)
    assert seen == ["next"]
    assert "a secret" not in caplog.text
