"""One runner process from its supervisor's side: start, readiness, exit. No Django, no database."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from models_app.clocks import awake
from models_app.domain.errors import LoadFailed, NoaError, Unavailable
from models_app.engines import identity, last_words
from models_app.engines.spec import RunnerSpec

# Seconds between checks for a cancellation while a load waits.
_CHECK_SECONDS = 0.1
# Seconds of the stages that end within a bound of the runner's own. A runner whose threads hang in llama.cpp cannot
# enforce it, so this process does.
_STAGE_SECONDS = {"template": 60.0, "warm_up": 150.0}
# Temporary shortages of the operating system, which are not the model's fault.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})

StageReport = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Ready:
    """A runner's ready message. Memory figures are bytes; `notes` are sentences about what the model cannot do."""

    pid: int
    n_ctx: int
    slots: int
    memory: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class RunnerProcess:
    """A spawned runner. Created by `spawn`, on the supervisor's thread only."""

    spec: RunnerSpec
    popen: subprocess.Popen[bytes]
    identity: str
    started_at: float  # Unix seconds; moves when the wall clock is set, so it is only displayed
    ready_pipe: int
    exit_fd: int  # becomes readable at the exit: no polling, no signal handler
    log_path: Path
    # Set before an intended stop: its exit is no failure.
    stopping: bool = False
    exited: threading.Event = field(default_factory=threading.Event)
    # Kept at the exit, when the log file is deleted.
    last_words: str | None = None

    @property
    def pid(self) -> int:
        return self.popen.pid

    def log_tail(self) -> str:
        return last_words.of(self.log_path) if self.last_words is None else self.last_words

    def wait_ready(
        self,
        *,
        timeout: float,
        on_stage: StageReport,
        stop: Callable[[], str | None],
        stage_seconds: Mapping[str, float] = MappingProxyType(_STAGE_SECONDS),
    ) -> Ready:
        """Wait until the runner is ready. `stop` returns a reason to give up, or None.

        Raises LoadFailed with the stage and the reason; the process can still be alive then.
        """
        limit = _Limit(timeout, stage_seconds)
        stage, buffer = "start", b""
        try:
            while True:
                if reason := stop():
                    raise LoadFailed(reason, stage=stage, code="load_cancelled")
                limit.check(stage)
                if not select.select([self.ready_pipe], [], [], _CHECK_SECONDS)[0]:
                    continue
                data = os.read(self.ready_pipe, 65_536)
                if not data:
                    raise self._died(stage)
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    if ready := _ready(message):
                        return ready
                    stage = str(message["stage"])
                    if message["event"] == "failed":
                        raise LoadFailed(str(message["message"]), stage=stage)
                    on_stage(stage, float(message.get("progress", 0.0)))
        finally:
            os.close(self.ready_pipe)

    def _died(self, stage: str) -> LoadFailed:
        code = self.popen.poll() if self.exited.wait(2.0) else None
        how = describe_exit(code)
        return LoadFailed(f"The runner {how} in stage '{stage}'. Its last lines:\n{self.log_tail()}", stage=stage)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole process group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.exited.is_set():
            return
        # The runner leads the group, so this includes its children.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class _Limit:
    """The time of a load, and of those of its stages that have a bound of their own. Seconds."""

    def __init__(self, timeout: float, stages: Mapping[str, float]) -> None:
        self._timeout, self._stages = timeout, stages
        self._began = self._stage_began = awake()
        self._stage = ""

    def check(self, stage: str) -> None:
        """Raises LoadFailed (`load_timeout`)."""
        now = awake()
        if stage != self._stage:
            self._stage, self._stage_began = stage, now
        if now - self._began > self._timeout:
            what = f"was not ready after {self._timeout:g} s (NOA_LOAD_TIMEOUT); it was still in stage '{stage}'"
        elif now - self._stage_began > self._stages.get(stage, math.inf):
            what = f"did not end stage '{stage}' within {self._stages[stage]:g} s"
        else:
            return
        raise LoadFailed(f"The runner {what}.", stage=stage, code="load_timeout")


def _ready(message: dict[str, Any]) -> Ready | None:
    if message["event"] != "ready":
        return None
    notes = tuple(message.get("notes", ()))
    return Ready(message["pid"], message["n_ctx"], message["slots"], message["memory"], notes)


def describe_exit(code: int | None) -> str:
    """A description of a process's end by its exit code; None: it still runs."""
    if code is None:
        return "stopped answering"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def spawn(command: Sequence[str], spec: RunnerSpec, log_path: Path) -> RunnerProcess:
    """Start a runner. Call on one long-lived thread: the kernel ends a runner together with the
    *thread* that spawned it (PR_SET_PDEATHSIG, which the runner sets itself)."""
    with contextlib.ExitStack() as undo:
        try:
            read_end, write_end = os.pipe()
            undo.callback(os.close, read_end)
            try:
                popen = _popen(command, spec, log_path, write_end)
            finally:
                os.close(write_end)
            # The runner exits when its lifeline closes.
            undo.callback(popen.wait)
            undo.enter_context(popen.stdin or contextlib.nullcontext())
            undo.callback(popen.kill)
            known, started_at = identity.of(popen.pid) or "", start_time(popen.pid) or 0.0
            exit_fd = os.pidfd_open(popen.pid)
        except OSError as error:
            raise _not_started(error) from error
        undo.pop_all()
    return RunnerProcess(spec, popen, known, started_at, read_end, exit_fd, log_path)


def _popen(command: Sequence[str], spec: RunnerSpec, log_path: Path, ready_fd: int) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [*command, "--spec", spec.to_json(), "--ready-fd", str(ready_fd)],
            stdin=subprocess.PIPE,  # the lifeline: held open for as long as this process lives
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[ready_fd],
            start_new_session=True,
            env=_environment(),
        )


def _not_started(error: OSError) -> NoaError:
    if error.errno in _EXHAUSTED:
        return Unavailable(
            f"The operating system refuses this worker more files or processes ({error.strerror}). Try again, or raise "
            "its limits (ulimit -n, ulimit -u)."
        )
    return LoadFailed(f"The runner could not be started: {error}.", stage="start")


def _environment() -> dict[str, str]:
    """A runner parses untrusted files, so its environment contains no secrets of the server.

    Without a backtrace a failed assertion of llama.cpp ends the process. With one each thread forks a debugger first,
    and forks of several threads hold each other's pipes open: none of them ends.
    """
    keep = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "CUDA_VISIBLE_DEVICES",
    )
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "PYTHONUNBUFFERED": "1",
        "GGML_NO_BACKTRACE": "1",
    }


def start_time(pid: int) -> float | None:
    """The start time of a process in Unix seconds, for display; None when it does not exist or is a zombie.

    It moves when the wall clock is set: `identity` tells whether a process is still the same.
    """
    try:
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.NoSuchProcess:
        return None


def kill_orphan(pid: int, known: str, *, instance: str) -> bool:
    """Kill an orphaned runner of an earlier server; returns False when it is not running any more.

    known     its identity; without one, which versions up to 0.1 did not store, its command line must name the instance
    instance  the id in the spec on its command line
    """
    is_it = identity.is_running(known) if identity.is_of(known, pid) else identity.has_argument(pid, instance)
    if not is_it:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return True


def kill_group(leader: int) -> None:
    """Kill what an exited runner has left in its group. Call before the leader is reaped: its id is not reused then."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def kill_session(leader: int) -> int:
    """Kill the processes left in an exited runner's session; returns the bytes that they held, 0 without any."""
    held = 0
    for found in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(found.pid) == leader and found.status() != psutil.STATUS_ZOMBIE:
                held += max(1, int(found.memory_info().rss))
                found.kill()
    return held
