"""A child program that compiles grammars: llama.cpp can crash the process that parses one.

It reads requests from standard input, each four bytes of length (big-endian) and a GBNF text, and answers each with one
byte: `1` for a grammar that compiles, `0` for one that llama.cpp rejects. No answer means that it crashed. It writes
one `1` first, when it is ready.
"""

from __future__ import annotations

import resource
import signal
import sys

import llama_cpp

# Real grammars take milliseconds. SIGALRM's default action ends the process even inside llama.cpp.
_SECONDS = 2
_MEMORY = 4 * 1024**3


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [limit for limit in (soft, hard, _MEMORY) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _answer(b"1")
    while header := sys.stdin.buffer.read(4):
        grammar = sys.stdin.buffer.read(int.from_bytes(header, "big"))
        signal.alarm(_SECONDS)
        sampler = llama_cpp.llama_sampler_init_grammar(None, grammar, b"root")
        signal.alarm(0)
        _answer(b"1" if sampler else b"0")
        if sampler:
            llama_cpp.llama_sampler_free(sampler)


def _answer(verdict: bytes) -> None:
    sys.stdout.buffer.write(verdict)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
