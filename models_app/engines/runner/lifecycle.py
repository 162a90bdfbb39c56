"""How a runner starts and ends: the ready pipe, the lifeline, its place in the out-of-memory order, its socket."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# The kernel should end a runner before the web process or the database; 1000 is the highest.
_OOM_SCORE = 800
# sysexits.h: an internal software error.
_EXIT_BROKEN = 70
# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# From asm-generic/mman-common.h.
_MADV_DONTNEED = 4
# Connections that may wait to be accepted: the gateway opens many at once after a switch.
_BACKLOG = 512
# Steps of load progress worth a line; llama.cpp reports every tensor.
_PROGRESS_STEP = 0.02


class ReadyPipe:
    """Writes what `spec` describes: one JSON object a line. After `ready` or `failed` the pipe is closed."""

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
        """Progress within the stage, 0 to 1; steps too small to see are left out."""
        if progress - self._progress >= _PROGRESS_STEP or progress >= 1.0 > self._progress:
            self.enter(self._stage, progress)

    def ready(self, *, n_ctx: int, slots: int, memory: Mapping[str, int]) -> None:
        self._write(
            {
                "event": "ready",
                "pid": os.getpid(),
                "n_ctx": n_ctx,
                "slots": slots,
                "memory": dict(memory),
            }
        )
        os.close(self._descriptor)

    def failed(self, message: str, *, stage: str) -> None:
        self._write({"event": "failed", "stage": stage, "message": message})
        os.close(self._descriptor)

    def _write(self, message: Mapping[str, Any]) -> None:
        # Who started this runner may have given up on it; the lifeline deals with that.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that spawned it ends, even while it is stopped or hangs.

    Best effort: only Linux has it, and the lifeline ends every runner that can still run a thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hold_lifeline() -> None:
    """End this process at once when standard input ends: whoever owned it is gone. The thread gets the GIL also
    while a model loads, because llama.cpp runs without it."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def end_with_any_thread() -> None:
    """A runner whose decode thread has died would take requests and never answer: it ends, and its owner hears of it."""

    def end(died: threading.ExceptHookArgs) -> None:
        name = died.thread.name if died.thread else "unknown"
        error = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        logger.critical("the thread '%s' died, so this runner ends", name, exc_info=error)
        os._exit(_EXIT_BROKEN)

    threading.excepthook = end


def let_go_of_mapped(path: Path) -> None:
    """Drop what is in memory of a file that this process has mapped; what is read again comes back from the cache.

    Weights that were copied at the load would count twice otherwise.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        if name == str(path.resolve()):
            start, end = (int(part, 16) for part in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def offer_to_oom_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError as error:
        logger.info("oom_score_adj cannot be set: %s", error)


def listen(path: str) -> socket.socket:
    """A listening unix socket that only this user can connect to. A file of this name is replaced."""
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must be right from the first moment on: chmod would come too late.
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener
