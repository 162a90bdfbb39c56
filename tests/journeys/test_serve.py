"""`make serve`, again and again: first start, restart, Ctrl-C, kill -9."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.journeys.server import NoaServer
from tests.waiting import until

pytestmark = [pytest.mark.journey, pytest.mark.llama, pytest.mark.timeout(300)]

Own = Callable[..., NoaServer]
CHAT = {"model": "current", "messages": [{"role": "user", "content": "Hello!"}]}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_first_start_says_all_that_is_needed(own_server: Own) -> None:
    server = own_server().start()
    assert server.password
    assert server.api_key.startswith("noa_")
    assert "'current' leads to llama.cpp:noa-demo-ember" in server.text
    pasted = re.search(r"^  (curl .*?)\n\n", server.text, re.DOTALL | re.MULTILINE)
    assert pasted, server.text
    answer = subprocess.run(["bash", "-c", pasted[1]], capture_output=True, text=True, timeout=60, check=True)
    assert '"content"' in answer.stdout, answer.stdout
    assert "Ember" in answer.stdout, answer.stdout
    leftovers = [line for line in server.text.splitlines() if "WARNING" in line or "ERROR" in line]
    assert leftovers == []


def test_ctrl_c_leaves_nothing_and_a_restart_keeps_everything(own_server: Own) -> None:
    # A short name, or the server would choose another folder for its sockets.
    with tempfile.TemporaryDirectory() as runtime:
        first = own_server(environment={"XDG_RUNTIME_DIR": runtime}).start()
        assert list(Path(runtime).iterdir())
        stop_after_a_switch(first)
        assert list(Path(runtime).iterdir()) == []
    assert not (first.data_dir / "server.lock").exists()
    second = own_server(data_dir=first.data_dir).start()
    assert second.password == ""
    assert second.api_key == ""
    second.api_key = first.api_key
    assert "'current' leads to llama.cpp:noa-demo-tide" in second.text
    status, answer = second.api("POST", "/v1/chat/completions", CHAT)
    assert (status, answer["model"]) == (200, "llama.cpp:noa-demo-tide")


def test_a_folder_that_others_could_read_is_private_after_the_start(own_server: Own, tmp_path: Path) -> None:
    """A folder made by `mkdir`, with what an earlier version left in it."""
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "noa.sqlite3").touch()
    (folder / "noa.sqlite3").chmod(0o644)
    folder.chmod(0o755)
    server = own_server(data_dir=folder).start()
    assert server.api("POST", "/v1/chat/completions", CHAT)[0] == 200
    names = {"noa.sqlite3", "noa.sqlite3-wal", "noa.sqlite3-shm", "secret_key", "encryption_key", "server.lock"}
    assert names <= {path.name for path in folder.iterdir()}
    modes = {str(path): oct(path.lstat().st_mode & 0o777) for path in [folder, *folder.rglob("*")]}
    assert set(modes.values()) <= {"0o700", "0o600"}, modes
    assert "took the access of other users" in server.text


def stop_after_a_switch(first: NoaServer) -> None:
    switched = first.api("POST", "/api/v1/models/switch?wait=60", {"key": "llama.cpp:noa-demo-tide"})
    assert switched[0] == 200, switched
    runners = first.runner_pids()
    assert len(runners) == 1
    assert first.stop() == 0
    assert not any(alive(pid) for pid in runners)


@pytest.mark.parametrize("round", range(3))
def test_kill_9_leaves_no_runner_and_a_restart_loads_again(own_server: Own, round: int) -> None:
    first = own_server().start()
    runners = first.runner_pids()
    assert all(alive(pid) for pid in runners)
    first.kill()
    until(lambda: not any(alive(pid) for pid in runners), "the runners have gone", 10)
    second = own_server(data_dir=first.data_dir).start()
    second.api_key = first.api_key
    assert second.api("POST", "/v1/chat/completions", CHAT)[0] == 200


def test_a_second_server_on_the_same_folder_is_refused(own_server: Own) -> None:
    first = own_server().start()
    with pytest.raises(AssertionError, match="Another NOA server"):
        own_server(data_dir=first.data_dir).start()
    assert first.api("GET", "/v1/models")[0] == 200


def test_a_port_that_is_taken_is_said_at_once(own_server: Own, tmp_path: Path) -> None:
    first = own_server().start()
    with pytest.raises(AssertionError, match="Cannot listen on 127.0.0.1"):
        own_server(data_dir=tmp_path / "other", port=first.port).start()


def test_wrong_settings_stop_the_start_by_name(own_server: Own) -> None:
    server = own_server(environment={"NOA_LOAD_TIMEOUT": "soon", "NOA_LOG_LEVEL": "LOUD"})
    with pytest.raises(AssertionError) as failed:
        server.start()
    assert "NOA_LOAD_TIMEOUT" in str(failed.value)
    assert "NOA_LOG_LEVEL" in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_sigterm_lets_streams_end(own_server: Own) -> None:
    """A stream that is open at SIGTERM is finished."""
    server = own_server().start()
    body = '{"model": "current", "stream": true, "max_tokens": 400, "ignore_eos": true, '
    body += '"messages": [{"role": "user", "content": "Hello!"}]}'
    with subprocess.Popen(
        [
            "curl",
            "-sN",
            f"{server.url}/v1/chat/completions",
            "-H",
            f"Authorization: Bearer {server.api_key}",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as stream:
        assert stream.stdout is not None
        assert stream.stdout.readline().startswith("data: ")
        server.process.send_signal(signal.SIGTERM)
        rest = stream.stdout.read()
    assert rest.rstrip().endswith("data: [DONE]"), rest[-300:]
    assert server.process.wait(60) == 0
