"""The spool: a record is in the file when `record` returns, survives a kill, and a full disk breaks no request."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.spool_format import Header
from models_app.gateway.recording.recorder import Recorder
from models_app.gateway.recording.spool import Spool
from tests.gateway.wire import DEADLINE

HEADER = Header("0123456789abcdef", "local", 7, 1.0)


def record(number: int) -> AccessRecord:
    return AccessRecord(f"r{number}", float(number), "chat/completions")


def opened(folder: Path, segment_bytes: int = 2_000) -> Spool:
    return Spool(folder, HEADER, segment_bytes=segment_bytes)


def left(folder: Path) -> spool_format.Found:
    """The content of the files."""
    return spool_format.read(b"".join(path.read_bytes() for path in sorted(folder.glob("*.log"))))


def drained(spool: Spool) -> list[str]:
    ids = []
    while data := spool.read(1_000):
        ids += [one.request_id for one in spool_format.read(data).records]
        spool.commit(len(data))
    return ids


def test_records_come_out_once_and_in_order_over_many_segments(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert all(spool.append(number, record(number)) for number in range(1, 101))
    assert len(list(tmp_path.glob("*.log"))) > 5
    assert drained(spool) == [f"r{number}" for number in range(1, 101)]
    assert (spool.size, len(list(tmp_path.glob("*.log")))) == (0, 1)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_committed_stays(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(1, 31):
        spool.append(number, record(number))
    data = spool.read(1_000)
    spool.commit(len(data))
    assert drained(spool)[0] == f"r{len(spool_format.read(data).records) + 1}"
    spool.append(31, record(31))
    spool.close()
    assert "r31" in [one.request_id for one in left(tmp_path).records]
    assert not spool.append(32, record(32))


def test_marks_of_open_requests_move_on_to_the_next_segment(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.begin("long", spool_format.mark_line(AccessRecord("long", 1.0, "chat/completions")))
    for number in range(1, 51):
        spool.append(number, record(number))
    drained(spool)
    assert [one.request_id for one in left(tmp_path).begun] == ["long"]
    spool.append(51, AccessRecord("long", 1.0, "chat/completions"))
    for number in range(52, 101):
        spool.append(number, record(number))
    drained(spool)
    assert left(tmp_path).begun == []
    spool.close()


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Simulates a full disk: files of this process cannot grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_tears_no_line_and_goes_unnoticed_by_the_rest(tmp_path: Path) -> None:
    spool = opened(tmp_path, segment_bytes=1_000_000)
    taken = []
    with file_limit(1_000):
        for number in range(1, 21):
            if spool.append(number, record(number)):
                taken.append(f"r{number}")
    assert 1 <= len(taken) < 20
    assert spool.append(21, record(21))
    found = left(tmp_path)
    assert [one.request_id for one in found.records] == [*taken, "r21"]
    assert found.bad == []
    assert drained(spool) == [*taken, "r21"]
    spool.close()


def test_a_recorder_with_a_full_disk_delivers_from_memory_and_counts(tmp_path: Path) -> None:
    stored: list[str] = []
    recorder = Recorder(lambda records: stored.extend(one.request_id for one in records))
    recorder.open(tmp_path, node="n")
    with file_limit(1_000):
        for number in range(50):
            recorder.record(record(number))
        assert recorder.flush(DEADLINE)
    assert sorted(stored) == sorted(f"r{number}" for number in range(50))
    assert recorder.dropped == 0
    assert 0 < recorder.unspooled < 50
    assert recorder.origin().unspooled == recorder.unspooled
    recorder.close()


def test_what_is_lost_with_a_full_disk_and_no_database_is_counted_exactly(tmp_path: Path) -> None:
    gate, stored = threading.Event(), list[str]()

    def sink(records: list[AccessRecord]) -> None:
        assert gate.wait(DEADLINE), "the gate was not opened"
        stored.extend(one.request_id for one in records)

    recorder = Recorder(sink, max_pending=10)
    recorder.open(tmp_path, node="n")
    with file_limit(1_000):
        for number in range(100):
            recorder.record(record(number))
    gate.set()
    assert recorder.flush(DEADLINE)
    assert recorder.dropped > 0
    assert len(stored) == len(set(stored)) == 100 - recorder.dropped
    assert recorder.origin().recorded <= 100
    recorder.close()


def test_no_folder_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    stored: list[AccessRecord] = []
    (tmp_path / "file").write_text("")
    recorder = Recorder(stored.extend)
    recorder.open(tmp_path / "file", node="n")
    recorder.begin(record(1))
    recorder.record(record(1))
    assert recorder.flush(DEADLINE)
    assert [one.request_id for one in stored] == ["r1"]
    recorder.close()


def test_a_sink_that_is_away_at_the_end_loses_nothing(tmp_path: Path) -> None:
    def away(records: list[AccessRecord]) -> None:
        raise OSError("the database is away")

    recorder = Recorder(away)
    recorder.open(tmp_path, node="n")
    for number in range(10):
        recorder.record(record(number))
    recorder.close(0.3)
    assert recorder.dropped == 0
    assert len(left(tmp_path).records) == 10


_KILLED = """
import os, signal, sys
from pathlib import Path
from models_app.domain.records.access import AccessRecord
from models_app.gateway.recording.recorder import Recorder
def hang(records):
    raise OSError
recorder = Recorder(hang)
recorder.open(Path(sys.argv[1]), node="n")
for number in range(1000):
    one = AccessRecord(f"r{number}", 1.0, "chat/completions")
    recorder.begin(one, route="current")
    if number < 990:
        recorder.record(one)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_record_and_no_mark(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False, timeout=60)
    assert ended.returncode == -9
    found = left(tmp_path)
    assert [one.request_id for one in found.records] == [f"r{number}" for number in range(990)]
    assert len(found.begun) == 1000
    assert found.begun[-1].route == "current"


@pytest.mark.parametrize("threads", [4])
def test_many_threads_may_write(tmp_path: Path, threads: int) -> None:
    spool = opened(tmp_path, 20_000)

    def write(first: int) -> None:
        for number in range(first, first + 200):
            spool.append(number, record(number))

    writers = [threading.Thread(target=write, args=(n * 200 + 1,)) for n in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(set(drained(spool))) == threads * 200
    spool.close()
