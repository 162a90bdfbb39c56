"""The program that does a runner's grammar work: `python -m models_app.engines.runner.grammar.child MODEL MODE`.

llguidance has limits of its own for each token, but not for all of its work: a schema can keep it busy for a minute and
fill memory, which nothing can interrupt inside a process, or overflow its stack. So this program reads the model's
vocabulary once and forks a process for each grammar. Standard input is a unix socket; each byte on it comes with a
connected socket, which becomes the channel of a new process. The runner writes on a channel, numbers are little-endian:

    I                    go on only while nothing else wants a processor; no answer
    G  u32 length, text  compile a grammar in llguidance's dialect of Lark, instead of the one before. Answers u32
                         length and a text: why it cannot be used, empty if it can
    T  u32 token         take this token if the grammar allows it. Answers Y; or N and one bit for each token of the
                         vocabulary, the first bit lowest, for those that it allows
    A  u32 token         accept an allowed token; no answer

A process begins with R. It ends itself, without an answer, when its work exceeds a limit: the end of the channel is the
answer.
"""

from __future__ import annotations

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

import llama_cpp
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from models_app.engines.confinement import confining
from models_app.engines.confinement.confining import Mode
from models_app.engines.runner import programs
from models_app.engines.runner.llama.vocabulary import Vocabulary

# Seconds of processor time, so that a busy machine makes no grammar slow. Usual grammars compile in a millisecond.
COMPILE_SECONDS = 1.0
# One token. All tokens of a vocabulary of 128,000 take 0.1 ms in usual states of a grammar, 40 ms in the worst known.
TOKEN_SECONDS = 1.0
# One process: a start, and a share for each token.
START_SECONDS = 2.0
SHARE_SECONDS = 0.02
# All ways to cut a text into tokens are allowed: the model chooses. Forced ones would need its tokenizer.
_OPTIONS = '%llguidance {"no_forcing": true}\n'
# A state of the lexer takes 1 to 2 KB.
_LEXER_STATES = 50_000
# Bytes beyond those of the vocabulary.
_MEMORY = 256 * 1024**2
# Grammar work yields to the decode thread, which decides about the pace of every stream.
_NICE = 19
# A process that has used more, in seconds of processor time and for each token, gets a processor only while nothing
# else wants it: usual grammars stay below, and one that is slow on purpose delays no other stream.
_CHEAP_SECONDS = 0.1
_CHEAP_SHARE = 0.002


class _Clock:
    """Ends this process, also inside llguidance, when it uses more processor time than it may."""

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


class _Tokens:
    """The vocabulary as llguidance reads it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = [vocabulary.piece(token) for token in range(vocabulary.size)]
        # Control tokens: no part of an answer's text.
        self.special_token_ids = [token for token, piece in enumerate(self.tokens) if not piece]
        self.eos_token_id = min(vocabulary.ends, default=vocabulary.size)
        self.bos_token_id = vocabulary.bos

    def __call__(self, text: bytes) -> list[int]:
        raise NotImplementedError("Grammars force no tokens.")


class Enforcer:
    """The vocabulary of a model, for which grammars are compiled. Raises SystemExit for a file without one."""

    def __init__(self, path: str) -> None:
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not model:
            raise SystemExit(f"The vocabulary of {path} cannot be read.")
        vocabulary = Vocabulary(model)
        self.ends = vocabulary.ends
        # llguidance's masks are longer: whole words, with a bit more than there are tokens.
        self.mask_bytes = (vocabulary.size + 7) // 8
        self._tokenizer = LLTokenizer(TokenizerWrapper(_Tokens(vocabulary)), eos_token=sorted(self.ends))
        # Verbose errors contain the client's schema.
        self._limits = LLParserLimits(max_lexer_states=_LEXER_STATES, verbose_errors=False)

    def compile(self, text: str) -> LLMatcher:
        return LLMatcher(
            self._tokenizer, LLMatcher.grammar_from_lark(_OPTIONS + text), log_level=0, limits=self._limits
        )


class _Process:
    """Serves one channel."""

    def __init__(self, channel: socket.socket, enforcer: Enforcer) -> None:
        self._input = channel.makefile("rb")
        self._channel = channel
        self._enforcer = enforcer
        self._clock = _Clock()
        self._matcher: LLMatcher

    def serve(self) -> None:
        self._channel.sendall(b"R")
        answers = {b"I": self._clock.yield_to_all, b"G": self._compile, b"T": self._try, b"A": self._accept}
        while kind := self._input.read(1):
            answers[kind]()

    def _number(self) -> int:
        (number,) = struct.unpack("<I", self._input.read(4))
        return int(number)

    def _compile(self) -> None:
        text = self._input.read(self._number()).decode()
        with self._clock.limited(COMPILE_SECONDS):
            self._matcher = self._enforcer.compile(text)
            if not self._matcher.is_error():
                # Finds a schema of which no value ends, and is remembered for the first token.
                self._matcher.compute_bitmask()
        reason = self._matcher.get_error().encode()
        self._channel.sendall(struct.pack("<I", len(reason)) + reason)

    def _try(self) -> None:
        token = self._number()
        with self._clock.limited(TOKEN_SECONDS):
            is_end = token in self._enforcer.ends
            allowed = self._matcher.is_accepting() if is_end else self._matcher.try_consume_tokens([token]) == 1
        if allowed:
            self._clock.tokens += 1
            self._channel.sendall(b"Y")
            return
        with self._clock.limited(TOKEN_SECONDS):
            mask = self._matcher.compute_bitmask()
        self._end_with_an_error()
        self._channel.sendall(b"N" + mask[: self._enforcer.mask_bytes])

    def _accept(self) -> None:
        token = self._number()
        self._clock.tokens += 1
        if token not in self._enforcer.ends:
            with self._clock.limited(TOKEN_SECONDS):
                self._matcher.consume_token(token)
            self._end_with_an_error()

    def _end_with_an_error(self) -> None:
        """llguidance's own limits are errors of the matcher."""
        if self._matcher.is_error():
            raise SystemExit(1)


# The runner has logged the same file already. llama.cpp keeps the address, so the callback stays referenced.
_SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


def main(path: str, mode: Mode) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    llama_cpp.llama_log_set(_SILENT, None)
    enforcer = Enforcer(path)
    # Opened and read now: a confined process opens no file.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    limit = _data_bytes() + _MEMORY
    confining.confine_reader(mode, imports=True)
    programs.serve(partial(_serve, enforcer, nowhere, limit, mode))


def _serve(enforcer: Enforcer, nowhere: int, limit: int, mode: Mode, channel: socket.socket) -> None:
    """The rest of a forked process."""
    if mode is not Mode.OFF:
        confining.forbid_processes()
    # A process that runs out of memory or stack would say so, with its backtrace.
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    _Process(channel, enforcer).serve()


def _data_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmData:")) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Mode(sys.argv[2]))
