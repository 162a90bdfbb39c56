"""A server for tests: temporary data, loopback only, ended with the process that started it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

_LIFELINE = Path(__file__).with_name("lifeline.py")
START_SECONDS = 30.0
# SIGKILL needs no time; a clean stop of an idle server takes milliseconds.
_END_SECONDS = 15.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnServer:
    """From `start` to `stop`; in between it can be killed, restarted on its data, paused and resumed.

    Subclasses define the program and its readiness check.
    """

    name: str
    stop_signal = signal.SIGTERM
    # Users for servers that refuse to run as root.
    users: tuple[str, ...] = ("nobody",)

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"noa-{self.name}-"))
        self.pid = 0
        self._keeper: subprocess.Popen[bytes] | None = None
        self._identity = self._unprivileged()
        if self._identity:
            shutil.chown(self.folder, self._identity["user"], self._identity["group"])

    def command(self) -> list[str]:
        raise NotImplementedError

    def prepare(self) -> None:
        """Called once, before the first start."""

    def wait_until_ready(self) -> None:
        raise NotImplementedError

    def start(self) -> Self:
        if not (self.folder / ".prepared").exists():
            self.prepare()
            (self.folder / ".prepared").touch()
        log = (self.folder / "log").open("ab")
        self._keeper = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                str(_LIFELINE),
                str(self.folder),
                str(int(self.stop_signal)),
                str(self._identity.get("user", -1)),
                str(self._identity.get("group", -1)),
                *self.command(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C goes to the terminal's whole process group.
            start_new_session=True,
        )
        log.close()
        assert self._keeper.stdout is not None
        self.pid = int(self._keeper.stdout.readline())
        self.wait_until_ready()
        return self

    def stop(self, *, keep: bool = False) -> None:
        """Stop it and, unless `keep`, delete its data."""
        if self._keeper is None:
            return
        self._keeper.communicate(b"keep" if keep else b"", timeout=_END_SECONDS)
        self._keeper = None
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        self.stop(keep=True)
        self.start()

    def kill(self) -> None:
        """As a crash: `start` restarts it on its data."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._keeper is not None and self._keeper.stdout is not None
        self._keeper.stdout.readline()
        self.stop(keep=True)

    def processes(self) -> list[int]:
        """Its processes, children included."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def pause(self) -> None:
        """Freeze it: connections stay open without an answer."""
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self.processes():
            # Processes that exited at once are already gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def output(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def run(self, *command: str) -> None:
        """Run one program to completion, as the server's user."""
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, **self._identity)
        if done.returncode:
            raise AssertionError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def _unprivileged(self) -> dict[str, Any]:
        if os.geteuid():
            return {}
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = next(known[name] for name in self.users if name in known)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
