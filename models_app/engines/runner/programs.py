"""Programs of a runner that do what could hang or crash it: each piece of work has a process, which can die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from models_app.domain.errors import Unavailable


def module(name: str) -> tuple[str, ...]:
    """The command of a module of this package, with this interpreter and its rule for the working folder."""
    return (sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", name)


class Program:
    """The runner's side: starts the program when it is first needed, and again after its end. Thread-safe.

    `environment` is added to the runner's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._command = command
        self._environment = environment
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def open(self) -> socket.socket:
        """A channel to a new process, without blocking. Raises Unavailable when there can be none."""
        try:
            with self._lock:
                return self._open()
        except OSError as error:
            raise Unavailable(
                f"The runner cannot start a process for this request ({error.strerror}). Try again."
            ) from error

    def _open(self) -> socket.socket:
        if self._program is None or self._program.poll() is not None:
            self._start()
        assert self._control is not None
        here, there = socket.socketpair()
        with there:
            try:
                socket.send_fds(self._control, [b"+"], [there.fileno()])
            except OSError:
                here.close()
                raise
        here.setblocking(False)
        return here

    def _start(self) -> None:
        self._end()
        self._control, theirs = socket.socketpair()
        # The decode thread opens channels too: it never waits for a program.
        self._control.setblocking(False)
        with theirs:
            environment = os.environ | dict(self._environment)
            self._program = subprocess.Popen(self._command, stdin=theirs.fileno(), env=environment)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._program is not None:
            self._program.kill()
            self._program.wait()
        self._program = self._control = None


def serve(work: Callable[[socket.socket], None]) -> None:
    """The program's side: a new process for each channel that arrives on standard input, until its end.

    `work` serves the channel; its process ends with it.
    """
    # The kernel collects ended processes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    while True:
        byte, channels, _, _ = socket.recv_fds(control, 1, 1)
        if not byte:
            return
        for channel in channels:
            if os.fork() == 0:
                control.detach()
                os.close(0)
                _work(work, channel)
            os.close(channel)


def _work(work: Callable[[socket.socket], None], channel: int) -> None:
    code = 1
    try:
        with socket.socket(fileno=channel) as connected:
            work(connected)
        code = 0
    finally:
        # Not `sys.exit`: nothing of the parent's end belongs here.
        os._exit(code)
