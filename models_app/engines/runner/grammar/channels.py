"""The runner's side of its grammar program: one channel to one process for each grammar in use."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models_app.domain.errors import InvalidRequest, NoaError, Unavailable
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs
from models_app.engines.runner.programs import Program

_MODULE = "models_app.engines.runner.grammar.child"
# The longest message: the bits of a vocabulary of a million tokens.
_READ_BYTES = 128 * 1024
# `R`, and the length of the reason for which a grammar cannot be used.
_GREETING = 5
# The program computes nothing with the model, so it needs no GPU.
_WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "", "GGML_NO_BACKTRACE": "1"}


class SchemaTooSlow(InvalidRequest):
    """422: the work for one token, or for a whole answer, exceeds the limits of `child`."""

    http_status = 422
    default_code = "schema_too_slow"


def too_slow(param: str | None = None) -> SchemaTooSlow:
    return SchemaTooSlow(
        "The schema takes too much time or memory to enforce. Simplify it: no counted repetitions inside others, fewer "
        "alternatives and optional properties, no large multipleOf in a wide range, lower counts.",
        param=param,
    )


def unusable(reason: str, param: str | None = None) -> InvalidRequest:
    """`reason` is a clause."""
    return InvalidRequest(f"The schema cannot be enforced: {reason}.", code="invalid_schema", param=param)


class GrammarProgram(Program):
    """The program of `child`: it opens channels, each to a new process."""

    def __init__(self, model_path: str, mode: Mode = Mode.AUTO) -> None:
        super().__init__((*programs.module(_MODULE), model_path, mode.value), _WITHOUT_GPU)


@dataclass(frozen=True, slots=True)
class Answer:
    """`mask`, shape (vocabulary,), are the tokens that are allowed instead; None where the one asked for was."""

    mask: npt.NDArray[np.bool_] | None


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

    def ask(self, token: int) -> None:
        """Ask whether the grammar allows `token`; it is accepted then."""
        self._send(b"T" + struct.pack("<I", token))

    def accept(self, token: int) -> None:
        self._send(b"A" + struct.pack("<I", token))

    def answer(self) -> Answer | None:
        """The answer to `ask`; None while there is none. Raises the failure of the grammar."""
        if not self._receive(1):
            return None
        if self._received[:1] == b"Y":
            del self._received[:1]
            return Answer(None)
        size = 1 + (self._size + 7) // 8
        if not self._receive(size):
            return None
        bits = np.frombuffer(bytes(self._received[1:size]), np.uint8)
        del self._received[:size]
        return Answer(np.unpackbits(bits, count=self._size, bitorder="little").astype(np.bool_))

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
        if self._begun or len(self._received) < _GREETING:
            return
        (size,) = struct.unpack_from("<I", self._received, 1)
        if len(self._received) < _GREETING + size:
            return
        if size:
            self.failure = unusable(self._received[_GREETING:].decode())
            raise self.failure
        self._begun = True
        del self._received[:_GREETING]


def _gone() -> Unavailable:
    return Unavailable("The process that enforces the schema ended before its first answer. Try again.")
