"""Leftover processes of a runner are killed and free its memory."""

from __future__ import annotations

import subprocess
import sys

from models_app.engines import process
from tests.waiting import until

_LEADER = """
import subprocess
print(subprocess.Popen(["sleep", "100"]).pid, flush=True)
"""


def test_what_is_left_of_a_session_is_killed_and_its_memory_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _LEADER], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        leader.wait(20)
    assert process.start_time(child) is not None
    assert process.kill_session(leader.pid) > 0
    until(lambda: process.start_time(child) is None, "the child has ended")
    assert process.kill_session(leader.pid) == 0
