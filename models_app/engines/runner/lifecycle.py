"""Start and end of a runner: ready pipe, lifeline, OOM score, socket."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# The kernel should kill a runner before the web process or the database; 1000 is the highest.
_OOM_SCORE = 800
# sysexits.h: an internal software error.
_EXIT_BROKEN = 70
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# From asm-generic/mman-common.h.
_MADV_DONTNEED = 4
# Pending connections: the gateway opens many at once after a switch.
BACKLOG = 512
# The smallest reported step of load progress; llama.cpp reports every tensor.
_PROGRESS_STEP = 0.02


class ReadyPipe:
    """Writes the messages that `spec` defines, one JSON object a line. `ready` and `failed` close the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stage = "start"
        self._progress = 0.0

    @property
    def stage(self) -> str:
        return self._stage

    def enter(self, stage: str, progress: float = 0.0) -> None:
        self._stage, self._progress = stage, progress
        self._write({"event": "stage", "stage": stage, "progress": progress})

    def advance(self, progress: float) -> None:
        """Progress within the stage, 0 to 1; small steps are not reported."""
        if progress - self._progress >= _PROGRESS_STEP or progress >= 1.0 > self._progress:
            self.enter(self._stage, progress)

    def ready(self, *, n_ctx: int, slots: int, memory: Mapping[str, int], notes: Sequence[str] = ()) -> None:
        self._write(
            {
                "event": "ready",
                "pid": os.getpid(),
                "n_ctx": n_ctx,
                "slots": slots,
                "memory": dict(memory),
                "notes": list(notes),
            }
        )
        os.close(self._descriptor)

    def failed(self, message: str, *, stage: str) -> None:
        self._write({"event": "failed", "stage": stage, "message": message})
        os.close(self._descriptor)

    def _write(self, message: Mapping[str, Any]) -> None:
        # The supervisor can have given up on this runner; the lifeline ends it then.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that spawned it ends, even while it is stopped or hangs.

    Best effort, Linux only; the lifeline ends every runner that can still run a thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hold_lifeline() -> None:
    """Exit at once when standard input ends: the owner is gone. The thread gets the GIL even while a model
    loads, because llama.cpp releases it."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def exit_with_any_thread() -> None:
    """Exit when any thread dies: without its decode thread a runner would accept requests and never answer."""

    def end(died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread else "unknown"
        error = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        logger.critical("the thread '%s' died: this runner exits", name, exc_info=error)
        os._exit(_EXIT_BROKEN)

    threading.excepthook = end


def drop_mapped_pages(path: Path) -> None:
    """Drop the resident pages of a mapped file; later reads are served from the page cache.

    Otherwise weights that were copied at the load would count twice.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        if name == str(path.resolve()):
            start, end = (int(part, 16) for part in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def raise_oom_score() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError as error:
        logger.info("oom_score_adj cannot be set: %s", error)


def bind(path: str) -> socket.socket:
    """A bound unix socket that only this user can connect to. An existing file is replaced."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must be right from the start: chmod after bind would leave a gap.
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    return listener
