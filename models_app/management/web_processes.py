"""Several web processes on one listening socket: started, started again when one dies, replaced one by one, ended.

All of them accept from the socket that this process has bound. So a process that is busy or has died takes no
connection from anybody, and while one is replaced its successor accepts before it stops.
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

from models_app.domain.errors import Unavailable

logger = logging.getLogger(__name__)

# Imports and the first snapshot take about two seconds; a loaded machine may need much longer.
READY_SECONDS = 90.0
READY = b"1"
# A process that dies sooner than this after its start may well die again.
_SETTLED_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.25, 10.0
# A process ends by itself before that: it gives its requests 30 seconds, and the last records 10.
_STOP_SECONDS = 45.0


@dataclass(eq=False)
class WebProcess:
    """One process in one place. It ends when its standard input closes: with this process, however that ends."""

    popen: subprocess.Popen[bytes]
    place: int
    started_at: float = field(default_factory=monotonic)
    # It was told to end: its exit is no failure.
    leaving: bool = False

    def tell(self, number: signal.Signals) -> None:
        self.leaving = True
        if self.popen.poll() is None:
            self.popen.send_signal(number)


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A place whose process has died and whose pause is over."""

    place: int


class WebProcesses:
    """`run` serves until SIGINT or SIGTERM. SIGHUP replaces every process by a new one, without a cut request."""

    def __init__(self, *, command: Sequence[str], listener: socket.socket, count: int) -> None:
        self._command = list(command)
        self._listener = listener
        self._count = count
        # Signals and exits, in their order.
        self._news: SimpleQueue[signal.Signals | WebProcess | Vacancy] = SimpleQueue()
        self._serving: dict[int, WebProcess] = {}
        self._leaving: set[WebProcess] = set()
        self._deaths: dict[int, int] = {}

    def start(self) -> None:
        """Returns when all of them serve; raises Unavailable when one does not come up."""
        started = [self._spawn(place) for place in range(self._count)]
        for one, ready in started:
            self._serving[one.place] = one
            if not _is_ready(ready):
                self._end(self._serving.values(), signal.SIGKILL)
                raise Unavailable("A web process did not come up. Its output says why.")

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        while True:
            news = self._news.get()
            if isinstance(news, WebProcess):
                self._on_exit(news)
            elif isinstance(news, Vacancy):
                self._fill(news.place)
            elif news == signal.SIGHUP:
                self._replace_all()
            else:
                return

    def stop(self) -> None:
        """All of them end, those that drain already too. A second signal ends them at once."""
        # Who connects now is refused, and tries elsewhere; the processes still hold the socket while they drain.
        self._listener.close()
        everybody = [*self._serving.values(), *self._leaving]
        self._serving.clear()
        self._end(everybody, signal.SIGTERM)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._news.put(signal.Signals(number))

    def _end(self, processes: Iterable[WebProcess], number: signal.Signals) -> None:
        left = set(processes)
        for one in left:
            one.tell(number)
        deadline = monotonic() + _STOP_SECONDS
        while left:
            news = self._next_news(deadline)
            if isinstance(news, WebProcess):
                left.discard(news)
            elif news in (signal.SIGINT, signal.SIGTERM):
                for one in left:
                    one.tell(signal.SIGKILL)

    def _next_news(self, deadline: float) -> signal.Signals | WebProcess | Vacancy:
        """At the deadline, as if somebody had lost patience."""
        try:
            return self._news.get(timeout=max(0.01, deadline - monotonic()))
        except Empty:
            return signal.SIGTERM

    def _spawn(self, place: int) -> tuple[WebProcess, int]:
        """A new process, and the pipe on which it says that it serves."""
        read, write = os.pipe()
        popen = subprocess.Popen(
            [*self._command, "--listener", str(self._listener.fileno()), "--ready", str(write)],
            stdin=subprocess.PIPE,
            pass_fds=(self._listener.fileno(), write),
            env=os.environ | {"NOA_WEB_PROCESSES": str(self._count)},
            # Ctrl-C goes to the whole group of a terminal: this process tells them.
            start_new_session=True,
        )
        os.close(write)
        made = WebProcess(popen, place)
        threading.Thread(target=self._wait, args=(made,), name="web-process", daemon=True).start()
        return made, read

    def _wait(self, one: WebProcess) -> None:
        one.popen.wait()
        self._news.put(one)

    def _on_exit(self, one: WebProcess) -> None:
        assert one.popen.stdin is not None
        one.popen.stdin.close()
        self._leaving.discard(one)
        if one.leaving or self._serving.get(one.place) is not one:
            return
        lived = monotonic() - one.started_at
        deaths = self._deaths.get(one.place, 0) + 1 if lived < _SETTLED_SECONDS else 0
        self._deaths[one.place] = deaths
        pause = min(_FIRST_PAUSE_SECONDS * 2.0**deaths, _LAST_PAUSE_SECONDS) if deaths else 0.0
        logger.error(
            "web process %s ended with %s; its successor starts in %g s",
            one.popen.pid,
            one.popen.returncode,
            pause,
        )
        threading.Timer(pause, self._news.put, [Vacancy(one.place)]).start()

    def _fill(self, place: int) -> None:
        made, ready = self._spawn(place)
        os.close(ready)
        self._serving[place] = made

    def _replace_all(self) -> None:
        """One after the other, so that all but one serve at any time; a successor that fails ends the attempt."""
        for place in sorted(self._serving):
            made, ready = self._spawn(place)
            if not _is_ready(ready):
                made.tell(signal.SIGKILL)
                logger.error("a new web process did not come up; the others stay as they are")
                return
            before, self._serving[place] = self._serving[place], made
            self._leaving.add(before)
            before.tell(signal.SIGHUP)
        logger.info("%d web processes were replaced", self._count)


def _is_ready(pipe: int) -> bool:
    """Whether the process at the other end has said that it serves; closes the pipe."""
    try:
        told, _, _ = select.select([pipe], [], [], READY_SECONDS)
        return bool(told) and os.read(pipe, 1) == READY
    finally:
        os.close(pipe)
