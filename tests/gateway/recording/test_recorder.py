"""The recorder: no record is lost without being counted, and no request waits for it."""

from __future__ import annotations

import logging
import threading

import pytest

from models_app.domain.records.access import AccessRecord
from models_app.gateway.recording import recorder as module
from models_app.gateway.recording.recorder import BATCH_SIZE, Recorder
from tests.gateway.wire import DEADLINE


def record(number: int) -> AccessRecord:
    return AccessRecord(f"r{number}", 0.0, "chat/completions")


class Sink:
    """Stores batches; fails while `broken`, blocks while `gate` is closed."""

    def __init__(self) -> None:
        self.batches: list[list[AccessRecord]] = []
        self.broken = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, records: list[AccessRecord]) -> None:
        self.entered.set()
        assert self.gate.wait(DEADLINE), "the gate was not opened"
        if self.broken:
            self.broken -= 1
            raise OSError("the database is away")
        self.batches.append(records)

    def ids(self) -> list[str]:
        return [record.request_id for batch in self.batches for record in batch]


def test_records_arrive_once_and_in_order() -> None:
    sink = Sink()
    recorder = Recorder(sink)
    for number in range(2 * BATCH_SIZE + 7):
        recorder.record(record(number))
    assert recorder.flush(DEADLINE)
    assert sink.ids() == [f"r{number}" for number in range(2 * BATCH_SIZE + 7)]
    assert max(map(len, sink.batches)) <= BATCH_SIZE
    recorder.close()


def test_a_few_records_arrive_without_being_asked_for() -> None:
    arrived = threading.Event()
    recorder = Recorder(lambda records: arrived.set())
    recorder.record(record(1))
    assert arrived.wait(DEADLINE), "the record did not reach the sink by itself"
    recorder.close()


def test_a_batch_that_fails_is_kept_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    sink.broken = 3
    recorder = Recorder(sink)
    recorder.record(record(1))
    with caplog.at_level(logging.ERROR):
        assert recorder.flush(DEADLINE)
    assert sink.ids() == ["r1"]
    assert len(caplog.records) == 3
    assert recorder.dropped == 0
    recorder.close()


def test_what_does_not_fit_is_dropped_and_counted() -> None:
    sink = Sink()
    sink.gate.clear()
    recorder = Recorder(sink, max_pending=5)
    recorder.record(record(0))
    assert recorder.flush(0.0) is False
    assert sink.entered.wait(DEADLINE), "the sink was not called"
    for number in range(1, 9):
        recorder.record(record(number))
    assert recorder.dropped == 3
    sink.gate.set()
    assert recorder.flush(DEADLINE)
    assert sink.ids() == [f"r{number}" for number in range(6)]
    recorder.close()


def test_closing_stores_what_is_left_and_refuses_more() -> None:
    sink = Sink()
    recorder = Recorder(sink)
    for number in range(10):
        recorder.record(record(number))
    recorder.close(DEADLINE)
    assert len(sink.ids()) == 10
    recorder.record(record(11))
    assert recorder.dropped == 1


def test_closing_gives_up_on_a_sink_that_never_takes_anything(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_RETRY_SECONDS", 0.01)
    sink = Sink()
    sink.broken = 10**9
    recorder = Recorder(sink)
    for number in range(3):
        recorder.record(record(number))
    with caplog.at_level(logging.ERROR):
        recorder.close(0.2)
    assert recorder.dropped == 3
    assert "3 access records could not be stored" in caplog.text


def test_an_unused_recorder_has_no_thread_and_closes_at_once() -> None:
    before = threading.active_count()
    recorder = Recorder(Sink())
    assert recorder.flush(0.0)
    recorder.close()
    assert threading.active_count() == before


def test_many_threads_may_record() -> None:
    sink = Sink()
    recorder = Recorder(sink)

    def run() -> None:
        for number in range(1000):
            recorder.record(record(number))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(DEADLINE)
    assert len(sink.ids()) == 8000
    recorder.close()
