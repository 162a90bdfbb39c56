"""Output on a terminal: tables, a progress bar, a conversation."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from tests.cli.conftest import COMMAND, environment
from tests.cli.fake_noa import FakeNoa, chunk, job, model, step


class Terminal:
    """A `noa` process on its own pseudo-terminal."""

    def __init__(self, fake: FakeNoa, *arguments: str, columns: int = 160) -> None:
        self._end, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(fake.url) | {"TERM": "xterm", "COLUMNS": str(columns)},
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def read_until(self, pattern: str, seconds: float = 30) -> None:
        """Reads until `pattern` appears in the output since the last call."""
        deadline, seen = monotonic() + seconds, ""
        while not re.search(pattern, seen):
            ready = select.select([self._end], [], [], max(0, deadline - monotonic()))[0]
            assert ready, f"Waited {seconds} s in vain for {pattern!r}; saw {self.text!r}"
            seen += (new := self._read())
            self.text += new
            assert new or re.search(pattern, seen), f"ended without {pattern!r}: {self.text!r}"

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def rest(self) -> int:
        while new := self._read():
            self.text += new
        return self.process.wait(30)

    def _read(self) -> str:
        try:
            return os.read(self._end, 65536).decode()
        except OSError:
            # Linux reports EIO when the last process at the other end has exited.
            return ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self._end)


@contextmanager
def at_terminal(fake: FakeNoa, *arguments: str, columns: int = 160) -> Iterator[Terminal]:
    terminal = Terminal(fake, *arguments, columns=columns)
    watchdog = threading.Timer(60, terminal.process.kill)
    watchdog.start()
    try:
        yield terminal
    finally:
        watchdog.cancel()
        terminal.close()


def test_ls_is_a_table_with_a_header(fake: FakeNoa) -> None:
    fake.models = [model("llama.cpp:tide")]
    with at_terminal(fake, "ls") as terminal:
        assert terminal.rest() == 0
    assert re.search(r"KEY +.*STATUS +.*CONTEXT", terminal.text)
    assert re.search(r"llama\.cpp:tide +available +1024", terminal.text)


def test_a_job_shows_its_running_step_and_keeps_the_ended_ones(fake: FakeNoa) -> None:
    running = [step("read", detail="a.gguf"), step("read", "running", "b.gguf")]
    found = {"found": 0, "new": [], "changed": [], "gone": [], "refused": [], "failed": None}
    result = {"providers": {"llama.cpp": found}}
    fake.jobs = deque(
        [
            job("discover"),
            job("discover", "running", steps=running, progress=0.5),
            job("discover", "succeeded", steps=[step("read"), step("read")], result=result),
        ]
    )
    with at_terminal(fake, "discover") as terminal:
        assert terminal.rest() == 0
    assert "read: a.gguf (0.5 s)" in terminal.text
    assert "read: b.gguf" in terminal.text
    assert "llama.cpp: 0 found, 0 new, 0 changed, 0 gone, 0 refused" in terminal.text


def test_a_conversation_remembers_what_was_said_and_ends_with_ctrl_d(fake: FakeNoa) -> None:
    fake.stream = [chunk("Hello \x1b[31mthere."), "[DONE]"]
    with at_terminal(fake, "chat") as terminal:
        terminal.read_until("> ")
        terminal.type("One?\n")
        terminal.read_until(r"there\.\r\n.*> ")
        terminal.type("Two?\n")
        terminal.read_until(r"there\.\r\n.*> ")
        terminal.type("\x04")
        assert terminal.rest() == 0
    assert "\x1b[31m" not in terminal.text
    last = fake.bodies("/v1/chat/completions")[-1]["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user"]
    assert last[1]["content"] == "Hello \x1b[31mthere."


def test_a_narrow_terminal_keeps_one_row_a_line_and_the_key_whole(fake: FakeNoa) -> None:
    key = "llama.cpp:a-model-with-a-name-of-some-length"
    fake.models = [model(key), model("llama.cpp:b")]
    with at_terminal(fake, "ls", columns=72) as terminal:
        assert terminal.rest() == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.text.splitlines()]
    assert [line.split()[0] for line in lines] == ["KEY", key, "llama.cpp:b"]
    assert max(len(line) for line in lines) <= 72
