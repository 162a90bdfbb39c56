"""Real runners: what they and their processes have given up, and what a hostile template can hold up."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from models_app.domain.errors import LoadFailed
from models_app.engines.confinement.confining import Mode
from tests.engines.confinement.test_confinement import needs_all
from tests.engines.runner import program
from tests.engines.runner.conftest import Launch
from tests.engines.runner.program import Program
from tests.fakes.gguf_files import write_tiny_gguf
from tests.fakes.hostile_templates import HOSTILE, WORD, armed
from tests.waiting import until

pytestmark = pytest.mark.llama

CHAT = "/v1/chat/completions"
# One of each way to take time or memory, or to fail.
_KINDS = ("strip", "equality", "loops", "output", "nested equality")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def everyone(runner: Program) -> list[psutil.Process]:
    found = psutil.Process(runner.process.pid)
    return [found, *found.children(recursive=True)]


@needs_all
def test_a_runner_and_all_its_processes_are_confined_in_every_thread(tiny_model: Path, launch: Launch) -> None:
    runner = launch(tiny_model, confine=Mode.REQUIRE).wait_ready()
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "boolean"}}}
    assert runner.chat(max_tokens=4, response_format=schema)[0] == 200
    processes = everyone(runner)
    # At least the runner, and the program and process of its template.
    assert len(processes) >= 3
    for process in processes:
        # The process of one grammar can have ended meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            for thread in process.threads():
                found = status(thread.id)
                assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
                assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")} == {0}
            assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[1] <= 1


def test_a_runner_works_without_confinement(tiny_model: Path, launch: Launch) -> None:
    runner = launch(tiny_model, confine=Mode.OFF).wait_ready()
    assert runner.chat(max_tokens=2)[0] == 200
    assert {status(process.pid)["Seccomp"] for process in everyone(runner)} <= {status(os.getpid())["Seccomp"]}


# A kernel without Landlock, from where the runner stands.
_OLD_KERNEL = """
import runpy, sys
from models_app.engines.confinement import landlock
landlock._CREATE_RULESET = 9999
runpy.run_module("models_app.engines.runner", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.REQUIRE])
def test_a_kernel_without_landlock_serves_unless_confinement_is_required(
    tiny_model: Path, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "COMMAND", (sys.executable, "-c", _OLD_KERNEL))
    runner = program.launch(tmp_path, tiny_model, confine=mode)
    try:
        if mode is Mode.REQUIRE:
            with pytest.raises(LoadFailed, match="NOA_CONFINE=require.*Landlock") as failed:
                runner.wait_ready()
            assert failed.value.stage == "start"
        else:
            assert runner.wait_ready().chat(max_tokens=2)[0] == 200
            assert "without Landlock" in runner.process.log_path.read_text()
    finally:
        runner.end()


@needs_all
def test_a_model_in_a_folder_with_others_is_the_only_one_that_is_read(tmp_path: Path, launch: Launch) -> None:
    own = write_tiny_gguf(tmp_path / "own.gguf")
    write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    runner = launch(own).wait_ready()
    assert runner.chat(max_tokens=2)[0] == 200
    names = [Path(one.path).name for one in psutil.Process(runner.process.pid).memory_maps()]
    assert "other.gguf" not in names


@pytest.mark.parametrize("kind", _KINDS)
def test_streams_go_on_while_a_template_does_its_worst(tmp_path: Path, launch: Launch, kind: str) -> None:
    template = armed(HOSTILE[kind])
    model = write_tiny_gguf(tmp_path / "trap.gguf", chat_template=template, ends=False, context=32_768)
    runner = launch(model, n_ctx=32_768).wait_ready()
    stop = threading.Event()
    received: list[int] = []

    def read_stream(client: Any) -> None:
        while not stop.is_set() and (data := client.recv(65_536)):
            received.append(data.count(b"data: "))

    fields = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30_000, "ignore_eos": True}
    with runner.start(CHAT, **fields, stream=True) as client:
        reader = threading.Thread(target=read_stream, args=(client,))
        reader.start()
        until(lambda: received, "the stream has begun")
        attacks = [threading.Thread(target=runner.chat, args=(WORD,)) for _ in range(2)]
        for attack in attacks:
            attack.start()
        while any(attack.is_alive() for attack in attacks):
            before = len(received)
            # Each round: the health, an answer to another client, and more of the stream.
            assert runner.health()["state"] == "ready"
            assert runner.chat("Hi", max_tokens=2)[0] == 200
            until(partial(has_more, received, before), "the stream goes on", 10)
        assert reader.is_alive()
        stop.set()
        for attack in attacks:
            attack.join()
        reader.join()
    answered, body = runner.chat(WORD)
    assert (answered, body["error"]["code"]) == (400, "template_error")
    assert runner.process.popen.poll() is None


def has_more(received: list[int], before: int) -> bool:
    return len(received) > before


def test_a_runner_takes_its_processes_along(tmp_path: Path, launch: Launch) -> None:
    """However it ends, also while one of them computes."""
    model = write_tiny_gguf(tmp_path / "trap.gguf", chat_template=armed(HOSTILE["loops"]))
    runner = launch(model).wait_ready()
    assert runner.chat(max_tokens=2)[0] == 200
    client = runner.start(CHAT, messages=[{"role": "user", "content": WORD}])
    processes = everyone(runner)
    assert len(processes) >= 3
    os.kill(runner.process.pid, signal.SIGKILL)
    until(lambda: not any(alive(process) for process in processes), "all are gone", 30)
    client.close()


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
