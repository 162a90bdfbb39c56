"""The program that does a runner's grammar work: `python -m models_app.engines.runner.grammar.child MODEL MODE`.

llama.cpp can crash on a grammar, and its work for one token can take minutes, which nothing can interrupt inside a
process. So this program reads the model's vocabulary once and forks a process for each grammar. Standard input is a
unix socket; each byte on it comes with a connected socket, which becomes the channel of a new process. The runner
writes on a channel, numbers are little-endian:

    I                         go on only while nothing else wants a processor; no answer
    G  u32 length, text       compile a grammar. Answers 1, or 0 if llama.cpp rejects it
    W                         walk: take random tokens to find states that are slow. Answers 1
    C  u32 count, u32 tokens  which is the first of these tokens that the grammar allows? Answers Y and its u32 index,
                              after which the token is accepted; or N
    M                         which tokens does the grammar allow? Answers with one bit for each, the first bit highest
    A  u32 token              accept a token; no answer

A process begins with R. It ends itself, without an answer, when its work exceeds a limit below: the end of the channel
is the answer.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from models_app.engines.confinement import confining
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs

# Seconds of processor time, so that a busy machine makes no grammar slow. Real grammars compile in milliseconds.
COMPILE_SECONDS = 1.0
# One token. All tokens of a vocabulary of 256,000 take 0.1 s in the usual states of a grammar.
TOKEN_SECONDS = 1.0
# One grammar: a start, and a share for each token.
START_SECONDS = 2.0
SHARE_SECONDS = 0.05
# A walk of so many tokens takes 0.1 s in usual grammars. A step checks few tokens and accepts one of them.
WALK_SECONDS = 1.0
WALK_STEPS = 128
WALK_CANDIDATES = 160
# Bytes beyond those of the vocabulary.
_MEMORY = 256 * 1024**2
# Grammar work yields to the decode thread, which decides about the pace of every stream.
_NICE = 19
# A process that has used more, in seconds of processor time and for each token, gets a processor only while nothing
# else wants it: usual grammars stay below, and one that is slow on purpose delays no other stream.
_CHEAP_SECONDS = 0.1
_CHEAP_SHARE = 0.005
# Chosen for each walk alike, so that a grammar has the same verdict each time.
_SEED = 5

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class _Clock:
    """Ends this process, also inside llama.cpp, when it uses more processor time than it may."""

    def __init__(self) -> None:
        self._began = time.process_time()
        self._yields = False
        self.tokens = 0

    def yield_to_all(self) -> None:
        if not self._yields:
            self._yields = True
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        used = time.process_time() - self._began
        if used > _CHEAP_SECONDS + _CHEAP_SHARE * self.tokens:
            self.yield_to_all()
        left = START_SECONDS + SHARE_SECONDS * self.tokens - used
        # 0 would switch the timer off.
        signal.setitimer(signal.ITIMER_PROF, max(min(seconds, left), 0.001))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


class _Vocabulary:
    """`short` are the tokens of ASCII's characters, and the ends."""

    def __init__(self, path: str) -> None:
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise SystemExit(f"The vocabulary of {path} cannot be read.")
        self.pointer = llama_cpp.llama_model_get_vocab(model)
        self.size: int = llama_cpp.llama_vocab_n_tokens(self.pointer)
        ends = [llama_cpp.llama_vocab_eos(self.pointer), llama_cpp.llama_vocab_eot(self.pointer)]
        # After another character: some tokenizers put a space before the first one.
        texts = [before + bytes([code]) for before in (b"\n", b"0") for code in range(9, 127)]
        found = {token for text in texts for token in self._tokens(text) if self._is_byte(token)}
        self.short = np.array(sorted(found.union(token for token in ends if token >= 0)), np.int32)

    def _tokens(self, text: bytes) -> list[int]:
        room = (llama_cpp.llama_token * 8)()
        count = llama_cpp.llama_tokenize(self.pointer, text, len(text), room, 8, False, False)
        return list(room[: max(count, 0)])

    def _is_byte(self, token: int) -> bool:
        return bool(
            llama_cpp.llama_token_to_piece(self.pointer, token, ctypes.create_string_buffer(8), 8, 0, True) == 1
        )

    def ends(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))


class _Grammar:
    """One grammar of llama.cpp and its state."""

    def __init__(self, vocabulary: _Vocabulary, text: bytes) -> None:
        self._vocabulary, self._size = vocabulary, vocabulary.size
        self._sampler = llama_cpp.llama_sampler_init_grammar(vocabulary.pointer, text, b"root")

    @property
    def compiles(self) -> bool:
        return bool(self._sampler)

    def allowed(self, tokens: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        data = ctypes.cast(candidates.ctypes.data, llama_cpp.llama_token_data_p)
        array = llama_cpp.llama_token_data_array(data, len(candidates), -1, False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        good: npt.NDArray[np.bool_] = np.isfinite(candidates["logit"])
        return good

    def every(self) -> npt.NDArray[np.bool_]:
        return self.allowed(np.arange(self._size))

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self._sampler, token)

    def walk(self) -> None:
        """Take random tokens. In most states one of the short ones is allowed; only in others all are checked."""
        chance = np.random.default_rng(_SEED)
        for _ in range(WALK_STEPS):
            some = np.concatenate([chance.integers(0, self._size, WALK_CANDIDATES), self._vocabulary.short])
            good = some[self.allowed(some)]
            if not good.size:
                good = np.flatnonzero(self.every())
            if not good.size:
                return
            token = int(chance.choice(good))
            if self._vocabulary.ends(token):
                return
            self.accept(token)


class _Process:
    """Serves one channel."""

    def __init__(self, channel: socket.socket, vocabulary: _Vocabulary) -> None:
        self._input = channel.makefile("rb")
        self._channel = channel
        self._vocabulary = vocabulary
        self._clock = _Clock()
        self._grammar: _Grammar

    def serve(self) -> None:
        self._channel.sendall(b"R")
        answers = {
            b"I": self._clock.yield_to_all,
            b"G": self._compile,
            b"W": self._walk,
            b"C": self._first,
            b"M": self._mask,
            b"A": self._accept,
        }
        while kind := self._input.read(1):
            answers[kind]()

    def _numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._input.read(4 * count))

    def _compile(self) -> None:
        text = self._input.read(self._numbers(1)[0])
        with self._clock.limited(COMPILE_SECONDS):
            self._grammar = _Grammar(self._vocabulary, text)
        self._channel.sendall(b"1" if self._grammar.compiles else b"0")

    def _walk(self) -> None:
        with self._clock.limited(WALK_SECONDS):
            self._grammar.walk()
        self._channel.sendall(b"1")

    def _first(self) -> None:
        tokens = np.array(self._numbers(self._numbers(1)[0]), np.int32)
        with self._clock.limited(TOKEN_SECONDS):
            good = np.flatnonzero(self._grammar.allowed(tokens))
        if not good.size:
            self._channel.sendall(b"N")
            return
        # Before the token is accepted: the decode thread goes on meanwhile.
        self._channel.sendall(b"Y" + struct.pack("<I", good[0]))
        self._take(int(tokens[good[0]]))

    def _mask(self) -> None:
        with self._clock.limited(TOKEN_SECONDS):
            good = self._grammar.every()
        self._channel.sendall(np.packbits(good).tobytes())

    def _accept(self) -> None:
        self._take(self._numbers(1)[0])

    def _take(self, token: int) -> None:
        self._clock.tokens += 1
        if not self._vocabulary.ends(token):
            with self._clock.limited(TOKEN_SECONDS):
                self._grammar.accept(token)


# The runner has logged the same file already. llama.cpp keeps the address, so the callback stays referenced.
_SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


def main(path: str, mode: Mode) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    llama_cpp.llama_log_set(_SILENT, None)
    vocabulary = _Vocabulary(path)
    # Opened and read now: a confined process opens no file.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    limit = _data_bytes() + _MEMORY
    confining.confine_reader(mode, imports=True)
    programs.serve(partial(_serve, vocabulary, nowhere, limit, mode))


def _serve(vocabulary: _Vocabulary, nowhere: int, limit: int, mode: Mode, channel: socket.socket) -> None:
    """The rest of a forked process."""
    if mode is not Mode.OFF:
        confining.forbid_processes()
    # llama.cpp prints the whole text of a grammar that it rejects.
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    _Process(channel, vocabulary).serve()


def _data_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData:")) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Mode(sys.argv[2]))
