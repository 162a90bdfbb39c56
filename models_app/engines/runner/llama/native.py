"""Bindings of llama.cpp's functions that keep the GIL, and its log.

ctypes releases the GIL around every call. For calls of some microseconds on the decode thread that costs too much: each
one lets the HTTP thread take the GIL and keep it for a whole switch interval. Those functions are bound a second time
here, without releasing it.
"""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from typing import Any

import llama_cpp
import llama_cpp.llama_cpp as bindings

logger = logging.getLogger("noa.runner.llama")

# Long enough for the reason of a failed load, which llama.cpp writes over several lines.
_KEPT_LINES = 60
# Warnings of llama.cpp about normal operation: cancelled steps, a full cache, embeddings pooled by the runner.
_EXPECTED = (
    "ret = 2",
    "removing memory module entries",
    "failed to find a memory slot",
    "model default pooling_type is",
)
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_CONTINUATION = 5

_held = ctypes.PyDLL(bindings._lib._name)


def _hold_gil(name: str) -> Any:
    """The function `name`, called without releasing the GIL; argument and result types are the bindings' own."""
    bound = getattr(_held, name)
    typed = getattr(llama_cpp, name)
    bound.argtypes, bound.restype = typed.argtypes, typed.restype
    return bound


seq_remove = _hold_gil("llama_memory_seq_rm")
set_embeddings = _hold_gil("llama_set_embeddings")
token_to_piece = _hold_gil("llama_token_to_piece")
is_end = _hold_gil("llama_vocab_is_eog")

# These return addresses, not pointer objects: while the address is unchanged, a numpy view of it stays valid.
logits_address = _hold_gil("llama_get_logits")
logits_address.restype = ctypes.c_void_p
embeddings_address = _hold_gil("llama_get_embeddings")
embeddings_address.restype = ctypes.c_void_p
sequence_embedding_address = _hold_gil("llama_get_embeddings_seq")
sequence_embedding_address.restype = ctypes.c_void_p


class Log:
    """Forwards llama.cpp's log to `logging`, and keeps the last lines to explain a failed load."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.verbose = True
        self._level = logging.INFO
        self._callback = llama_cpp.llama_log_callback(self._receive)

    def install(self) -> None:
        """Receive llama.cpp's log, verbose during a load."""
        self.lines.clear()
        self.verbose = True
        llama_cpp.llama_log_set(self._callback, None)

    def _receive(self, level: int, text: bytes, _user_data: object) -> None:
        if level < 3 and not self.verbose:
            return
        if level != _CONTINUATION:
            self._level = _LEVELS.get(level, logging.DEBUG)
        line = text.decode("utf-8", "replace").strip()
        if self._level == logging.DEBUG or len(line) < 2 or any(part in line for part in _EXPECTED):
            return
        self.lines.append(line)
        logger.log(self._level, "%s", line)

    def reason(self) -> str:
        """The last error of llama.cpp's log, without its function names."""
        lines = [line.rpartition("error loading model: ")[2] for line in self.lines if "error" in line]
        return lines[-1] if lines else (self.lines[-1] if self.lines else "no reason was given")


log = Log()
