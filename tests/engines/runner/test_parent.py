"""A runner ends with its parent process, even when it is stopped, and when any of its threads dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.gguf_files import write_tiny_gguf
from tests.waiting import until

pytestmark = pytest.mark.llama

PROGRAM = """
import sys, threading
from pathlib import Path
from models_app.engines.spec import RunnerSpec
from models_app.engines.supervisor import Supervisor
folder = Path(sys.argv[1])
owner = Supervisor(
    command=[sys.executable, "-m", "models_app.engines.runner"], folder=folder / "run", on_death=print
)
owner.start()
spec = RunnerSpec("abc", "m", "f", sys.argv[2], str(owner.socket_path("abc")), 256, 2, 256, 1, 0)
runner = owner.launch(spec)
runner.wait_ready(timeout=60, on_stage=lambda *_: None, stop=lambda: None)
print(runner.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_runner_ends_with_its_owner(tmp_path: Path, stopped: bool) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        runner = int(owner.stdout.readline())
        if stopped:
            os.kill(runner, signal.SIGSTOP)
        owner.kill()
    until(lambda: not psutil.pid_exists(runner), "the runner has gone with its owner")


def test_a_runner_does_not_outlive_a_thread_that_it_needs() -> None:
    program = """
import logging, threading
from models_app.engines.runner import lifecycle
logging.basicConfig()
lifecycle.exit_with_any_thread()
threading.Thread(target=lambda: 1 / 0, name="decode").start()
threading.Event().wait()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert ended.returncode == 70
    assert b"ZeroDivisionError" in ended.stderr
    assert b"'decode'" in ended.stderr
