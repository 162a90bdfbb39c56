"""A stored process id means the process of its row, whatever the wall clock was set to meanwhile."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models_app.engines import identity, process
from models_app.engines.gauges import Watch
from tests.waiting import until

DAY = 86_400
STEPS = (-365 * DAY, -DAY, -1, 1, DAY, 365 * DAY)
BOOTS = ("0b1ad6b4-8f3c-4f3e-9d55-2c8e3b1f7a01", "5d3f90c2-7a44-4d0e-8a39-6f0c1e2b9d77")
INSTANCE = "6f1c2d3e-0000-4000-8000-000000000001"

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """What a step of the wall clock changes: the kernel's `btime`, from which psutil computes all starts."""
    boot_time: Any = psutil._pslinux.boot_time

    def step(seconds: float) -> None:
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time() + seconds)

    return step


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that names an instance on its command line, as a runner does."""
    command = ["sh", "-c", 'read -r line <&0; echo "$0"', f'{{"instance": "{INSTANCE}"}}']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as running:
        yield running
        running.kill()


def faked(proc: Path, pid: int, *, name: str, state: str, ticks: int, boot: str | None) -> Path:
    """The files that describe one process."""
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    fields = [state, *["0"] * 18, str(ticks), *["0"] * 30]
    (folder / "stat").write_bytes(f"{pid} ({name}) {' '.join(fields)}\n".encode("utf-8", "surrogateescape"))
    path = proc / "sys/kernel/random/boot_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    if boot is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(boot + "\n")
    return proc


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=15) | st.sampled_from(
    [") Z 1 (", "a b) R", "python)", "(((", "\n) X\n"]
)
starts = st.integers(min_value=0, max_value=2**63)


@settings(deadline=None)
@given(pid=st.integers(1, 4_194_304), name=names, ticks=starts, later=starts, boots=st.permutations(BOOTS))
def test_only_the_same_start_in_the_same_boot_is_the_same_process(
    tmp_path_factory: pytest.TempPathFactory, pid: int, name: str, ticks: int, later: int, boots: list[str]
) -> None:
    proc = tmp_path_factory.mktemp("proc")
    known = identity.of(pid, proc=faked(proc, pid, name=name, state="S", ticks=ticks, boot=boots[0]))
    assert known is not None
    assert identity.is_of(known, pid)
    assert not identity.is_of(known, pid * 10)
    # Columns have this length.
    assert len(known) <= 96
    for state in "RSDTtI":
        assert identity.is_running(known, proc=faked(proc, pid, name=name, state=state, ticks=ticks, boot=boots[0]))
    for state in "ZXx":
        assert not identity.is_running(known, proc=faked(proc, pid, name=name, state=state, ticks=ticks, boot=boots[0]))
    now = faked(proc, pid, name=name, state="S", ticks=later, boot=boots[0])
    assert identity.is_running(known, proc=now) == (later == ticks)
    rebooted = faked(proc, pid, name=name, state="S", ticks=ticks, boot=boots[1])
    assert not identity.is_running(known, proc=rebooted)


def test_without_the_id_of_the_boot_the_start_decides(tmp_path: Path) -> None:
    known = identity.of(7, proc=faked(tmp_path, 7, name="noa", state="S", ticks=5, boot=None))
    assert known is not None
    assert identity.is_running(known, proc=tmp_path)
    assert not identity.is_running(known, proc=faked(tmp_path, 7, name="noa", state="S", ticks=6, boot=None))


@pytest.mark.parametrize("known", ["", "12 1 boot", "1 1 boot"])
def test_an_identity_that_belongs_to_no_process_is_not_running(known: str, tmp_path: Path) -> None:
    assert not identity.is_running(known, proc=tmp_path)
    assert identity.of(12, proc=tmp_path) is None
    assert not identity.has_argument(12, "x", proc=tmp_path)


@pytest.mark.parametrize("step", STEPS)
def test_a_process_stays_itself_when_the_clock_is_set(
    step: float, set_clock: SetClock, stranger: subprocess.Popen[bytes]
) -> None:
    known, started = identity.of(stranger.pid), process.start_time(stranger.pid)
    assert known is not None
    assert started is not None
    set_clock(step)
    # The start in Unix seconds does move.
    assert process.start_time(stranger.pid) == pytest.approx(started + step)
    assert identity.of(stranger.pid) == known
    assert identity.is_running(known)
    assert process.kill_orphan(stranger.pid, known, instance="another")
    assert stranger.wait(10) == -9
    assert not identity.is_running(known)
    assert not process.kill_orphan(stranger.pid, known, instance=INSTANCE)


@pytest.mark.parametrize("step", STEPS)
def test_a_process_is_measured_after_the_clock_was_set(step: float, set_clock: SetClock) -> None:
    known = identity.of(os.getpid())
    assert known is not None
    set_clock(step)
    with Watch(os.getpid(), known=known) as watch:
        pass
    assert (watch.reading.rss_bytes or 0) > 1_000_000


def test_another_process_with_the_same_number_is_not_measured() -> None:
    pid = os.getpid()
    with Watch(pid, known=f"{pid} 1 {BOOTS[0]}") as watch:
        pass
    assert watch.reading.rss_bytes is None
    assert "not on this machine" in watch.reading.memory_reason


def test_another_process_with_the_same_number_is_spared(stranger: subprocess.Popen[bytes]) -> None:
    known = identity.of(stranger.pid)
    assert known is not None
    pid, start, boot = known.split()
    for other in (f"{pid} {int(start) - 1} {boot}", f"{pid} {int(start) + 1} {boot}", f"{pid} {start} {BOOTS[0]}"):
        # It names the instance, but its identity is certain.
        assert not process.kill_orphan(stranger.pid, other, instance=INSTANCE)
    assert stranger.poll() is None


@pytest.mark.parametrize("known", ["", "1 5 an-id-of-another-process"])
def test_a_runner_without_identity_is_found_by_its_instance(known: str, stranger: subprocess.Popen[bytes]) -> None:
    """Rows of versions that stored a start in Unix seconds alone."""
    until(lambda: identity.has_argument(stranger.pid, INSTANCE), "the program has begun")
    assert not process.kill_orphan(stranger.pid, known, instance="6f1c2d3e-0000-4000-8000-000000000002")
    assert stranger.poll() is None
    assert process.kill_orphan(stranger.pid, known, instance=INSTANCE)
    assert stranger.wait(10) == -9
