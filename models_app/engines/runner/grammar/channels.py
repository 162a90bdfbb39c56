"""The runner's side of its grammar program: one channel to one process for each grammar in use."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models_app.domain.errors import InvalidRequest, NoaError, Unavailable
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs
from models_app.engines.runner.programs import Program

_MODULE = "models_app.engines.runner.grammar.child"
# The longest message: the bits of a vocabulary of a million tokens.
_READ_BYTES = 128 * 1024
# The program computes nothing with the model, so it needs no GPU.
_WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "", "GGML_NO_BACKTRACE": "1"}


class SchemaTooSlow(InvalidRequest):
    """422: the work for one token, or for a whole answer, exceeds the limits of `child`."""

    http_status = 422
    default_code = "schema_too_slow"


def too_slow(param: str | None = None) -> SchemaTooSlow:
    return SchemaTooSlow(
        "The schema takes too long to enforce: too many of its alternatives are open at once in some state of the "
        "answer. Simplify it: no counted repetitions inside others, fewer alternatives that begin alike, lower counts.",
        param=param,
    )


def unusable(param: str | None = None) -> InvalidRequest:
    return InvalidRequest(
        "The schema leads to a grammar that llama.cpp cannot use. Make it smaller or simpler.",
        code="invalid_schema",
        param=param,
    )


class GrammarProgram(Program):
    """The program of `child`: it opens channels, each to a new process."""

    def __init__(self, model_path: str, mode: Mode = Mode.AUTO) -> None:
        super().__init__((*programs.module(_MODULE), model_path, mode.value), _WITHOUT_GPU)


class Channel:
    """One grammar of one generation, for the decode thread: nothing here waits.

    An error is the answer to the next question, so that a sequence ends where its token is decided.
    """

    def __init__(self, program: GrammarProgram, grammar: str, vocabulary_size: int) -> None:
        self._size = vocabulary_size
        self._received = bytearray()
        self._unsent = bytearray()
        self._begun = False
        self._socket: socket.socket | None = None
        self.failure: NoaError | None = None
        text = grammar.encode()
        try:
            self._socket = program.open()
        except Unavailable as error:
            self.failure = error
        self._send(b"G" + struct.pack("<I", len(text)) + text)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def ask(self, tokens: Sequence[int]) -> None:
        """Ask for the first of `tokens` that the grammar allows; it is accepted then."""
        self._send(b"C" + struct.pack(f"<{len(tokens) + 1}I", len(tokens), *tokens))

    def ask_all(self) -> None:
        self._send(b"M")

    def accept(self, token: int) -> None:
        self._send(b"A" + struct.pack("<I", token))

    def first(self) -> int | None:
        """The answer to `ask`: an index, -1 if none is allowed; None while there is no answer."""
        self._receive(1)
        if self._received[:1] == b"N":
            del self._received[:1]
            return -1
        if not self._receive(5):
            return None
        (index,) = struct.unpack_from("<I", self._received, 1)
        del self._received[:5]
        return int(index)

    def mask(self) -> npt.NDArray[np.bool_] | None:
        """The answer to `ask_all`, shape (vocabulary,); None while there is no answer."""
        size = (self._size + 7) // 8
        if not self._receive(size):
            return None
        bits = np.frombuffer(bytes(self._received[:size]), np.uint8)
        del self._received[:size]
        return np.unpackbits(bits, count=self._size).astype(np.bool_)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, data: bytes) -> None:
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        if self._socket is None or not self._unsent:
            return
        # A process that has ended is noticed where its answer is read.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            del self._unsent[: self._socket.send(self._unsent)]

    def _receive(self, count: int) -> bool:
        """Whether the answer has at least `count` bytes. Raises the failure of the grammar."""
        if self.failure is not None:
            raise self.failure
        self._flush()
        while not self._begun or len(self._received) < count:
            assert self._socket is not None
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return False
            except ConnectionError:
                data = b""
            if not data:
                self.failure = too_slow() if self._begun else _gone()
                raise self.failure
            self._received += data
            self._skip_greeting()
        return True

    def _skip_greeting(self) -> None:
        """Drop `R` and the verdict on the grammar, which was checked before in another process."""
        if self._begun or len(self._received) < 2:
            return
        if self._received[1:2] != b"1":
            self.failure = unusable()
            raise self.failure
        self._begun = True
        del self._received[:2]


def _gone() -> Unavailable:
    return Unavailable("The process that enforces the schema ended before its first answer. Try again.")
