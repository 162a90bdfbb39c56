"""Marks of a runner's threads: what they say about a real process that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from models_app.engines import marks
from models_app.engines.marks import Mark
from tests.waiting import until

# `guilty` computes in the thread of one mark, and `innocent` waits in the thread of the other one.
HANGS = """
import re, sys, threading
from pathlib import Path
from models_app.engines import marks
made = marks.create(Path(sys.argv[1]))
waiting = threading.Event()
def wait():
    made.decode.set("innocent")
    waiting.set()
    threading.Event().wait()
threading.Thread(target=wait, daemon=True).start()
waiting.wait()
if sys.argv[2] == "unmarked":
    made.loop.clear()
else:
    made.loop.set("guilty")
print("begun", flush=True)
if sys.argv[2] == "sleeps":
    threading.Event().wait()
re.match("(a|aa)+$", "a" * 200 + "b")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return marks.path_of(str(tmp_path / "runner.sock"))


class Hanging:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, how: str) -> int:
        program = subprocess.Popen([sys.executable, "-c", HANGS, str(self._path), how], stdout=subprocess.PIPE)
        self.started.append(program)
        assert program.stdout is not None
        assert program.stdout.readline() == b"begun\n"
        return program.pid


@pytest.fixture
def hanging(path: Path) -> Iterator[Hanging]:
    found = Hanging(path)
    yield found
    for program in found.started:
        program.kill()
        program.wait()
        assert program.stdout is not None
        program.stdout.close()


def test_the_request_whose_thread_computes_is_blamed(hanging: Hanging, path: Path) -> None:
    pid = hanging.start("computes")
    until(lambda: marks.blame(pid, path) == ["guilty"], "the busy thread's request is blamed")


def test_a_busy_thread_without_a_request_blames_none(hanging: Hanging, path: Path) -> None:
    pid = hanging.start("unmarked")
    until(lambda: psutil.Process(pid).cpu_times().user > 0.5, "it computes")
    assert marks.blame(pid, path) == []


def test_a_process_that_waits_for_ever_blames_none(hanging: Hanging, path: Path) -> None:
    assert marks.blame(hanging.start("sleeps"), path) == []


def test_a_process_that_is_stopped_is_held_from_outside(hanging: Hanging, path: Path) -> None:
    pid = hanging.start("computes")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it is stopped")
    assert marks.blame(pid, path) is None


def test_without_a_file_none_is_blamed(hanging: Hanging, path: Path) -> None:
    pid = hanging.start("computes")
    path.unlink()
    assert marks.blame(pid, path) == []


def test_a_file_that_cannot_be_made_stops_no_runner(tmp_path: Path) -> None:
    made = marks.create(tmp_path / "missing" / "runner.work")
    made.loop.set("request")
    made.loop.clear()


def test_the_file_is_private_to_the_user(path: Path) -> None:
    marks.create(path)
    assert path.stat().st_mode & 0o777 == 0o600


def held(path: Path) -> list[str]:
    return [request for _, request in marks._read(path)]


def test_a_coroutine_is_marked_while_it_runs_and_not_while_it_waits(path: Path) -> None:
    made = marks.create(path)
    seen = []

    async def work() -> str:
        seen.append(held(path))
        await asyncio.sleep(0)
        seen.append(held(path))
        return "result"

    async def main() -> str:
        marks.current.set("request-1")
        task = asyncio.ensure_future(_awaited(made.loop, work()))
        await asyncio.sleep(0)
        seen.append(held(path))
        return await task

    assert asyncio.run(main()) == "result"
    assert seen == [["request-1"], [], ["request-1"]]
    assert held(path) == []


def test_errors_and_cancellations_pass_through(path: Path) -> None:
    made = marks.create(path)
    cleaned = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("as it is")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(held(path))

    async def main() -> None:
        marks.current.set("request-1")
        with pytest.raises(ValueError, match="as it is"):
            await made.loop.stepping(fails())
        task = asyncio.ensure_future(_awaited(made.loop, waits()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned == [["request-1"]]
    assert held(path) == []


async def _awaited(mark: Mark, work: object) -> str:
    return await mark.stepping(work)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a" * 64, "a" * 500, "ä"])
def test_every_name_fits(path: Path, name: str) -> None:
    made = marks.create(path)
    made.decode.set(name)
    kept = name.encode("ascii", "replace").decode()[:64]
    assert held(path) == ([kept] if kept else [])
