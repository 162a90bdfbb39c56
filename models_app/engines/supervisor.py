"""Owns a node's runners: one long-lived thread spawns them and detects every exit.

Not a thread per spawn: runners ask the kernel to kill them when the thread that spawned them ends (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from models_app.clocks import awake, wait
from models_app.domain.errors import Conflict, Interrupted, NoaError
from models_app.engines import marks, process
from models_app.engines.confinement.confining import Mode
from models_app.engines.process import RunnerProcess
from models_app.engines.spec import RunnerSpec

logger = logging.getLogger(__name__)

_STOPPING = "This node is stopping; it loads no more models."

# Called on its own thread after an unintended exit of a runner: instance id, description of the exit, last log lines.
OnDeath = Callable[[str, str, str], None]


@dataclass(slots=True)
class _Request:
    spec: RunnerSpec
    answer: Future[RunnerProcess]


class Supervisor:
    """Thread-safe. `folder` is private and contains the sockets and logs of the runners."""

    def __init__(self, *, command: Sequence[str], folder: Path, on_death: OnDeath, confine: Mode = Mode.AUTO) -> None:
        self._command = command
        self._confine = confine
        self.folder = folder
        self._on_death = on_death
        self._runners: dict[str, RunnerProcess] = {}
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self._closing = threading.Event()
        # Set once no request is pending while closing.
        self._idle = threading.Event()
        self._accepting = threading.Lock()
        self._deaths = ThreadPoolExecutor(1, thread_name_prefix="noa-deaths")
        self._thread = threading.Thread(target=self._run, name="noa-supervisor", daemon=True)

    def start(self) -> None:
        """Raises Conflict when another user owns the folder or can access it: who replaces a socket reads prompts."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise Conflict(
                f"{self.folder} is not a private folder of this user. Remove it, or set XDG_RUNTIME_DIR to one.",
                code="run_folder_not_private",
            )
        for leftover in self.folder.iterdir():
            leftover.unlink()
        self._thread.start()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def socket_path(self, instance_id: str) -> Path:
        return self.folder / f"{instance_id.replace('-', '')[:16]}.sock"

    def launch(self, spec: RunnerSpec) -> RunnerProcess:
        """Spawn a runner; raises LoadFailed or Unavailable when the operating system refuses, Interrupted while
        stopping."""
        request = _Request(replace(spec, confine=self._confine), Future())
        with self._accepting:
            if self._closing.is_set():
                raise Interrupted(_STOPPING)
            self._requests.put(request)
            self._wake()
        return request.answer.result()

    def check_open(self) -> None:
        """Raises Interrupted once `close` has begun."""
        if self._closing.is_set():
            raise Interrupted(_STOPPING)

    def instance_ids(self) -> set[str]:
        """The instances of all live runners that are not being stopped."""
        return {key for key, runner in list(self._runners.items()) if not runner.stopping}

    def get(self, instance_id: str) -> RunnerProcess | None:
        return self._runners.get(instance_id)

    def ids(self) -> list[str]:
        """The instances of all live runners."""
        return list(self._runners)

    def stop(self, instance_id: str, *, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; returns when the process is gone. Unknown ids are ignored."""
        runner = self._runners.get(instance_id)
        if runner:
            self._end([runner], grace)

    def close(self, *, grace: float) -> None:
        """End every runner within one shared grace, then the thread; the folder is removed."""
        with self._accepting:
            self._closing.set()
            self._wake()
        # Earlier requests are spawned or refused by now, so this list is complete.
        self._idle.wait()
        self._end(list(self._runners.values()), grace)
        self._wake()
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._deaths.shutdown()
        for leftover in self.folder.iterdir():
            leftover.unlink()
        self.folder.rmdir()

    def _end(self, runners: list[RunnerProcess], grace: float) -> None:
        deadline = awake() + grace
        for runner in runners:
            runner.stopping = True
            runner.terminate()
        for runner in runners:
            if not wait(runner.exited, max(0.0, deadline - awake())):
                if grace > 0:
                    logger.warning("runner %s ignores SIGTERM, killing it", runner.pid)
                runner.kill()
                runner.exited.wait()

    def _wake(self) -> None:
        os.write(self._wake_write, b"x")

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._closing.is_set() or self._runners:
                if self._closing.is_set():
                    self._spawn_requested(selector)
                    self._idle.set()
                for key, _ in selector.select():
                    if key.fd == self._wake_read:
                        os.read(self._wake_read, 4096)
                        self._spawn_requested(selector)
                    else:
                        selector.unregister(key.fd)
                        os.close(key.fd)
                        self._reap(key.data)
            self._spawn_requested(selector)
        self._idle.set()

    def _spawn_requested(self, selector: selectors.BaseSelector) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._requests.get_nowait()
                if self._closing.is_set():
                    request.answer.set_exception(Interrupted(_STOPPING))
                    continue
                try:
                    log_path = self.socket_path(request.spec.instance_id).with_suffix(".log")
                    runner = process.spawn(self._command, request.spec, log_path)
                except NoaError as error:
                    request.answer.set_exception(error)
                    continue
                self._runners[request.spec.instance_id] = runner
                selector.register(runner.exit_fd, selectors.EVENT_READ, runner)
                request.answer.set_result(runner)

    def _reap(self, runner: RunnerProcess) -> None:
        process.kill_group(runner.pid)
        code = runner.popen.wait()
        assert runner.popen.stdin is not None
        runner.popen.stdin.close()
        del self._runners[runner.spec.instance_id]
        runner.last_words = runner.log_tail()
        for leftover in (Path(runner.spec.socket), runner.log_path, marks.path_of(runner.spec.socket)):
            leftover.unlink(missing_ok=True)
        runner.exited.set()
        if not runner.stopping:
            how = process.describe_exit(code)
            self._deaths.submit(self._on_death, runner.spec.instance_id, how, runner.last_words)
