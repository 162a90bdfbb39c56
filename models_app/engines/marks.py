"""Which request each thread of a runner works on alone, in a file that outlives a hang.

A runner writes it without a system call. Its worker reads it before it ends a runner that hangs.
"""

from __future__ import annotations

import logging
import mmap
import struct
import threading
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

# The gateway's id of the request whose code runs.
current: ContextVar[str] = ContextVar("current", default="")

_THREADS = 2
# A thread's id, the length of the request's id, and the id.
_ENTRY = struct.Struct("<IB64s")
_SIZE = _THREADS * _ENTRY.size
# The threads of a hung runner are watched until one has computed for a tenth of a second, so that the load of the
# machine does not matter, or for so many seconds: then none computes.
_ENOUGH_TICKS = 10
_WATCH_SECONDS = 3.0
_PAUSE_SECONDS = 0.1
# Fields of /proc/PID/task/TID/stat after the command, whose name can contain anything.
_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12
# Stopped by a signal or a debugger; in a sleep of the kernel that nothing interrupts, such as swapping.
_STOPPED, _SWAPPING = frozenset("Tt"), "D"

Result = TypeVar("Result")


def path_of(socket: str) -> Path:
    return Path(socket).with_suffix(".work")


class Mark:
    """The entry of one thread, which alone writes it."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._memory, self._at = memory, number * _ENTRY.size

    @classmethod
    def unread(cls) -> Mark:
        """A mark of a thread whose process no worker watches."""
        return cls(mmap.mmap(-1, _SIZE), 0)

    def set(self, request: str) -> None:
        name = request.encode("ascii", "replace")[:64]
        _ENTRY.pack_into(self._memory, self._at, threading.get_native_id(), len(name), name)

    def clear(self) -> None:
        self._memory[self._at + 4] = 0

    def stepping(self, work: Coroutine[Any, Any, Result]) -> Stepping[Result]:
        """An awaitable that marks each step of `work` with the current request; it waits without the mark."""
        return Stepping(self, work)


class Stepping(Generic[Result]):
    """Runs a coroutine, and marks its steps."""

    def __init__(self, mark: Mark, work: Coroutine[Any, Any, Result]) -> None:
        self._mark, self._work = mark, work

    def __await__(self) -> Generator[Any, Any, Result]:
        return self

    def __iter__(self) -> Stepping[Result]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        self._mark.set(current.get())
        try:
            return self._work.send(value)
        finally:
            self._mark.clear()

    def throw(self, *error: Any) -> Any:
        self._mark.set(current.get())
        try:
            return self._work.throw(*error)
        finally:
            self._mark.clear()

    def close(self) -> None:
        self._work.close()


@dataclass(frozen=True, slots=True)
class Marks:
    """Of the event loop, and of the decode thread."""

    loop: Mark
    decode: Mark


def create(path: Path) -> Marks:
    """The marks of this process. Without a file, hangs are explained less well."""
    try:
        with path.open("w+b") as file:
            path.chmod(0o600)
            file.truncate(_SIZE)
            memory = mmap.mmap(file.fileno(), _SIZE)
    except OSError as error:
        logger.warning("%s cannot be written (%s): a hang cannot be assigned to a request", path, error.strerror)
        memory = mmap.mmap(-1, _SIZE)
    return Marks(Mark(memory, 0), Mark(memory, 1))


def blame(pid: int, path: Path) -> list[str] | None:
    """The requests whose own work keeps a thread of this process busy; empty when it hangs otherwise.

    None when something from outside holds the process: a signal, a debugger, swapping. Takes some seconds at most.
    """
    before = _ticks(pid)
    until = monotonic() + _WATCH_SECONDS
    after, used = before, dict[int, int]()
    while max(used.values(), default=0) < _ENOUGH_TICKS and monotonic() < until:
        sleep(_PAUSE_SECONDS)
        after = _ticks(pid)
        if any(state in _STOPPED for state, _ in after.values()):
            return None
        used = {tid: ticks - before[tid][1] for tid, (_, ticks) in after.items() if tid in before}
    most = max(used.values(), default=0)
    if most < _ENOUGH_TICKS:
        return None if any(state == _SWAPPING for state, _ in after.values()) else []
    # A thread that only waits for the interpreter's lock uses a small part of that.
    return [request for tid, request in _read(path) if used.get(tid, 0) >= most / 2]


def _read(path: Path) -> list[tuple[int, str]]:
    """The threads that work on one request alone, and its id."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    entries = [_ENTRY.unpack_from(data, number * _ENTRY.size) for number in range(len(data) // _ENTRY.size)]
    return [(tid, name[:length].decode("ascii", "replace")) for tid, length, name in entries if length]


def _ticks(pid: int) -> dict[int, tuple[str, int]]:
    """The state of each thread, and the processor time that it has used."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            fields = task.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the thread has ended
        found[int(task.parent.name)] = (fields[_STATE], int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS]))
    return found
