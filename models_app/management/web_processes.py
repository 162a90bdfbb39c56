"""Several web processes on one listening socket: starts, restarts after a crash, replaces one by one, and stops them.

All of them accept from the socket that this process has bound. So a busy or dead process takes no connection away from
the others, and a replacement accepts connections before its predecessor stops.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType

from models_app.clocks import awake
from models_app.domain.errors import Unavailable

logger = logging.getLogger(__name__)

# Imports and the first snapshot take about two seconds; a loaded machine can need much longer.
READY_SECONDS = 90.0
READY = b"1"
# A process that dies sooner than this after its start is likely to die again.
_SETTLED_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.25, 10.0
# Longer than a process takes to stop: 30 seconds for its requests and 10 for its last records.
_STOP_SECONDS = 45.0


@dataclass(eq=False)
class WebProcess:
    """The process in one place. It ends when its standard input closes, so even if this process crashes."""

    popen: subprocess.Popen[bytes]
    place: int
    started_at: float = field(default_factory=monotonic)
    # A signal to end was sent: its exit is no failure.
    leaving: bool = False

    def send(self, number: signal.Signals) -> None:
        self.leaving = True
        if self.popen.poll() is None:
            self.popen.send_signal(number)


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A place whose process has died and whose restart pause is over."""

    place: int


class WebProcesses:
    """`run` serves until SIGINT or SIGTERM. SIGHUP replaces every process without interrupting a request."""

    def __init__(self, *, command: Sequence[str], listener: socket.socket, count: int) -> None:
        self._command = list(command)
        self._listener = listener
        self._count = count
        # Signals, exits and restarts, in order of arrival.
        self._notices: SimpleQueue[signal.Signals | WebProcess | Vacancy] = SimpleQueue()
        self._serving: dict[int, WebProcess] = {}
        self._leaving: set[WebProcess] = set()
        self._deaths: dict[int, int] = {}

    def start(self) -> None:
        """Returns when all of them serve; raises Unavailable when one does not start."""
        started = [self._spawn(place) for place in range(self._count)]
        for process, ready in started:
            self._serving[process.place] = process
            if not _is_ready(ready):
                self._end(self._serving.values(), signal.SIGKILL)
                raise Unavailable("A web process did not start. Its output has the reason.")

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while True:
            notice = self._notices.get()
            if isinstance(notice, WebProcess):
                self._on_exit(notice)
            elif isinstance(notice, Vacancy):
                self._fill(notice.place)
            elif notice == signal.SIGHUP:
                self._replace_all()
            else:
                return

    def stop(self) -> None:
        """Ends all processes, draining ones included. A second signal kills them."""
        # New clients are refused; the processes keep the socket while they drain.
        self._listener.close()
        processes = [*self._serving.values(), *self._leaving]
        self._serving.clear()
        self._end(processes, signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._notices.put(signal.Signals(number))

    def _end(self, processes: Iterable[WebProcess], number: signal.Signals) -> None:
        left = set(processes)
        for process in left:
            process.send(number)
        deadline = awake() + _STOP_SECONDS
        while left:
            notice = self._next_notice(deadline)
            if isinstance(notice, WebProcess):
                left.discard(notice)
            elif notice in (signal.SIGINT, signal.SIGTERM):
                for process in left:
                    process.send(signal.SIGKILL)

    def _next_notice(self, deadline: float) -> signal.Signals | WebProcess | Vacancy:
        """SIGTERM at the deadline, as if it were the second signal."""
        while True:
            try:
                return self._notices.get(timeout=max(0.01, deadline - awake()))
            except Empty:
                if awake() >= deadline:
                    return signal.SIGTERM

    def _spawn(self, place: int) -> tuple[WebProcess, int]:
        """A new process, and the pipe to which it writes READY when it serves."""
        read, write = os.pipe()
        popen = subprocess.Popen(
            [*self._command, "--listener", str(self._listener.fileno()), "--ready", str(write)],
            stdin=subprocess.PIPE,
            pass_fds=(self._listener.fileno(), write),
            env=os.environ | {"NOA_WEB_PROCESSES": str(self._count)},
            # A terminal sends Ctrl-C to its whole process group; only this process forwards it.
            start_new_session=True,
        )
        os.close(write)
        process = WebProcess(popen, place)
        threading.Thread(target=self._wait, args=(process,), name="web-process", daemon=True).start()
        return process, read

    def _wait(self, process: WebProcess) -> None:
        process.popen.wait()
        self._notices.put(process)

    def _on_exit(self, process: WebProcess) -> None:
        assert process.popen.stdin is not None
        process.popen.stdin.close()
        self._leaving.discard(process)
        if process.leaving or self._serving.get(process.place) is not process:
            return
        lived = monotonic() - process.started_at
        deaths = self._deaths.get(process.place, 0) + 1 if lived < _SETTLED_SECONDS else 0
        self._deaths[process.place] = deaths
        pause = min(_FIRST_PAUSE_SECONDS * 2.0**deaths, _LAST_PAUSE_SECONDS) if deaths else 0.0
        logger.error(
            "web process %s exited with code %s; restarting in %g s",
            process.popen.pid,
            process.popen.returncode,
            pause,
        )
        threading.Timer(pause, self._notices.put, [Vacancy(process.place)]).start()

    def _fill(self, place: int) -> None:
        process, ready = self._spawn(place)
        os.close(ready)
        self._serving[place] = process

    def _replace_all(self) -> None:
        """Replaces one process after the other, while the rest keeps serving; stops when a replacement fails."""
        for place in sorted(self._serving):
            process, ready = self._spawn(place)
            if not _is_ready(ready):
                process.send(signal.SIGKILL)
                logger.error("a replacement web process did not start; the remaining ones are not replaced")
                return
            before, self._serving[place] = self._serving[place], process
            self._leaving.add(before)
            before.send(signal.SIGHUP)
        logger.info("replaced %d web processes", self._count)


def _is_ready(pipe: int) -> bool:
    """Whether the process at the other end has written READY in time; closes the pipe."""
    deadline = awake() + READY_SECONDS
    try:
        while (left := deadline - awake()) > 0:
            if select.select([pipe], [], [], left)[0]:
                return os.read(pipe, 1) == READY
        return False
    finally:
        os.close(pipe)
