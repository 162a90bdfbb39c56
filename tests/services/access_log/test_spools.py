"""The spools of killed web processes are shipped exactly once, also by concurrent and repeated recoveries."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord, Origin
from models_app.domain.records.spool_format import Header
from models_app.models import AccessLog, Activity, Event, GatewayProcess
from models_app.services.access_log import faults, quarantine, spools, store
from tests.waiting import until

pytestmark = pytest.mark.django_db

RECORDER = "0123456789abcdef"
AT = 1_700_000_000.5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.NOA_DATA_DIR = tmp_path
    monkeypatch.setattr(faults, "_reported_at", {})
    quarantine.folder().mkdir()
    return quarantine.folder()


def record(number: int, **changes: Any) -> AccessRecord:
    return AccessRecord(
        f"{RECORDER}-{number:x}",
        AT + number / 1000,
        "chat/completions",
        **{"status": 200, "duration_ms": 5.0} | changes,
    )


def lines(count: int, first: int = 1) -> bytes:
    return b"".join(
        spool_format.mark_line(record(number), route="current", model_key="openai:x")
        + spool_format.record_line(number, record(number))
        for number in range(first, first + count)
    )


def leave(folder: Path, *segments: bytes) -> None:
    """The spool of a killed process."""
    (folder / "access-1-a.lock").touch()
    header = spool_format.header_line(Header(RECORDER, "n1", 1, AT))
    for number, data in enumerate(segments):
        (folder / f"access-1-a.{number:06}.log").write_bytes(header + data)


def process() -> GatewayProcess:
    return GatewayProcess.objects.get(recorder=RECORDER)


def test_what_a_process_left_is_stored_and_its_files_go(folder: Path) -> None:
    leave(folder, lines(300), lines(300, first=301))
    assert spools.recover() == 600
    assert AccessLog.objects.count() == 600
    assert list(folder.iterdir()) == []
    found = process()
    assert (found.recorded, found.stored, found.cut_off, found.recovered) == (600, 600, 0, True)
    assert spools.recover() == 0


def test_requests_under_way_get_a_row_that_says_so(folder: Path) -> None:
    mark = spool_format.mark_line(
        record(9, key_id="k", stream=True),
        route="current",
        model_key="openai:x",
        prompt_tokens=1000,
        completion_tokens=256,
        cost_usd=0.5,
    )
    leave(folder, lines(2) + mark, mark + lines(1, first=3))
    spools.recover()
    row = AccessLog.objects.get(error_code="server_killed")
    assert (row.request_id, row.aborted, row.stream, row.key_id) == (f"{RECORDER}-9", True, True, "k")
    assert (row.model_key, row.route, row.status) == ("openai:x", "current", 500)
    # What they could use, since what they used is not known: the kill of a process makes no request free.
    assert (row.prompt_tokens, row.completion_tokens, row.estimated) == (1000, 256, True)
    sums = Activity.objects.get(key_id="k")
    assert (sums.prompt_tokens, sums.completion_tokens, float(sums.cost_usd)) == (1000, 256, 0.5)
    assert (process().stored, process().cut_off) == (3, 1)


def test_the_spool_of_an_older_version_is_stored(folder: Path) -> None:
    names = tuple(name for name in spool_format.MARK_FIELDS if name not in ("prompt_tokens", "estimated"))
    values = [getattr(record(1), name) for name in names]
    (folder / "access-1-a.lock").touch()
    header = spool_format.header_line(Header(RECORDER, "n1", 1, AT, mark_fields=names))
    mark = spool_format.line(spool_format.BEGUN, orjson.dumps(values))
    (folder / "access-1-a.000001.log").write_bytes(header + mark)
    assert spools.recover() == 1
    row = AccessLog.objects.get()
    assert (row.error_code, row.prompt_tokens, row.estimated) == ("server_killed", None, False)


def test_what_was_stored_before_the_kill_is_not_stored_twice(folder: Path) -> None:
    store.store([record(n) for n in range(1, 101)], Origin(RECORDER, "n1", 1, AT, recorded=100))
    leave(folder, lines(150))
    spools.recover()
    assert AccessLog.objects.count() == 150
    assert Activity.objects.get(model_key="*").requests == 150
    assert (process().recorded, process().stored) == (150, 150)


def test_a_recovery_that_was_killed_is_done_again_without_doubles(folder: Path) -> None:
    mark = spool_format.mark_line(record(200))
    for _ in range(3):
        leave(folder, lines(50) + mark)
        spools.recover()
    assert AccessLog.objects.count() == 51
    assert (process().stored, process().cut_off) == (50, 1)


@pytest.mark.parametrize("cuts", [20, pytest.param(200, marks=pytest.mark.wide)])
def test_a_torn_spool_gives_back_what_is_whole(folder: Path, cuts: int) -> None:
    chance, whole = random.Random(cuts), lines(30)
    for _ in range(cuts):
        end = chance.randrange(len(whole))
        leave(folder, whole[:end])
        spools.recover()
        good = sum(line.startswith(b"E ") for line in whole[:end].split(b"\n")[:-1])
        begun = sum(line.startswith(b"B ") for line in whole[:end].split(b"\n")[:-1])
        assert AccessLog.objects.filter(status=200).count() == good
        assert AccessLog.objects.filter(error_code="server_killed").count() == begun - good
        AccessLog.objects.all().delete()
        GatewayProcess.objects.all().delete()
    assert quarantine.path().read_bytes().count(b"\n") > 0
    assert Event.objects.get(name="access-log-fault").data["fault"] == "spool_damaged"


_WRITER = """
import sys, time
from pathlib import Path
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.spool_format import Header
from models_app.gateway.recording.spool import Spool
spool = Spool(Path(sys.argv[1]), Header("0123456789abcdef", "n1", 1, 1.0))
spool.append(1, AccessRecord("a", 1700000000.5, "chat/completions", status=200))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_spool_whose_writer_lives_is_left_alone(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert spools.recover() == 0
        writer.kill()
    assert until(lambda: spools.recover(), "the spool was free") == 1
    assert AccessLog.objects.get().request_id == "a"


POISON: list[Callable[[], dict[str, Any]]] = [
    lambda: {"prompt_tokens": 2**63},
    lambda: {"status": -1},
    lambda: {"duration_ms": None},
    lambda: {"started_at": 1e30},
]


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("place", [0, 57, 99])
def test_one_poisoned_record_of_a_hundred_is_put_aside(poison: Callable[[], dict[str, Any]], place: int) -> None:
    batch = [record(number) for number in range(100)]
    for name, value in poison().items():
        setattr(batch[place], name, value)
    store.store(batch, Origin(RECORDER, "n1", 1, AT, recorded=100))
    assert AccessLog.objects.count() == 99
    assert Activity.objects.get(model_key="*").requests == 99
    assert (process().stored, process().quarantined, process().recorded) == (99, 1, 100)
    assert quarantine.path().read_bytes().count(b"\n") == 1
    assert Event.objects.get(name="access-log-fault").data["fault"] == "record_refused"


def test_no_file_of_a_recovery_can_be_read_by_others(folder: Path) -> None:
    store.store([record(1, status=-1)])
    assert os.stat(quarantine.path()).st_mode & 0o077 == 0
