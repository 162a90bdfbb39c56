"""What a failed runner's log shows to clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_app.engines import last_words

_ASSERTION = (
    "/tmp/pip-wheel-8ss/llama-cpp-python_13c/vendor/llama.cpp/ggml/src/ggml.c:4132: GGML_ASSERT(eps >= 0.0f) failed"
)
_LOG = "2026-11-30 15:48:41,225 INFO noa.runner.llama: print_info: file type = all F32"

_INSIDES = (
    "#0  0x00007f1bd9c8f1b7 in __GI___wait4 (pid=11720) at ../sysdeps/unix/sysv/linux/wait4.c:30",
    "#43 0x00005593da220081 in _start ()",
    "    #1 0x4a1b2c in ggml_abort ggml.c:204",
    "[New LWP 11719]",
    "[Thread debugging using libthread_db enabled]",
    'Using host libthread_db library "/lib/x86_64-linux-gnu/libthread_db.so.1".',
    "[Inferior 1 (process 11718) detached]",
    "30\t../sysdeps/unix/sysv/linux/wait4.c: No such file or directory.",
    "360\t../csu/libc-start.c: No such file or directory.",
    "warning: process 11718 is a zombie - the process has already terminated",
    "ptrace: Operation not permitted.",
    "No stack.",
    "The program is not being run.",
    "/usr/lib/libggml-base.so(ggml_abort+0x11f)[0x7f1bd9c8f1b7]",
    "libllama.so(+0x9c3d1) [0x7f1bd9c8f1b7]",
    "Traceback (most recent call last):",
    '  File "/work/models_app/engines/runner/__main__.py", line 55, in main',
    "Fatal Python error: Segmentation fault in thread 0x00007f",
    "Current thread 0x00007f1bd9c8f1b7 (most recent call first):",
    "Thread 0x00007f1bd9c8f1b7 (most recent call first):",
    "* thread #1, name = 'python'",
    "  frame #0: 0x0000000100 libsystem`__pthread_kill",
    "7f1bd9c8f000-7f1bd9c90000 r-xp 00000000 08:01 1234 /usr/lib/libc.so.6",
)


@pytest.mark.parametrize("line", _INSIDES)
def test_the_insides_of_a_crashed_process_are_left_out(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join([_LOG, _ASSERTION, line, line, ""]))
    assert last_words.of(log) == f"{_LOG}\nllama.cpp/ggml/src/ggml.c:4132: GGML_ASSERT(eps >= 0.0f) failed"


def test_a_long_backtrace_does_not_push_the_reason_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join([_LOG, _ASSERTION, *(_INSIDES * 6)]))
    assert "GGML_ASSERT(eps >= 0.0f) failed" in last_words.of(log)


@pytest.mark.parametrize(
    "line",
    [
        _LOG,
        "something terrible happened",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "  what():  std::bad_alloc",
        "free(): invalid pointer",
        "ValueError: 5 is not a token",
    ],
)
def test_reasons_stay(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"{line}\n")
    assert last_words.of(log) == line


def test_a_log_that_cannot_be_read_gives_an_error_text(tmp_path: Path) -> None:
    assert "could not be read" in last_words.of(tmp_path / "none")
