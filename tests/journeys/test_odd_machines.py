"""The server starts, loads and answers where the machine is not as usual."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.server import ROOT, NoaServer
from tests.waiting import until

pytestmark = pytest.mark.journey

DEAD = "http://127.0.0.1:1"
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD)
USUAL = {name: value for name, value in os.environ.items() if name not in ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")}


def answers(server: NoaServer) -> None:
    status, answer = server.api(
        "POST",
        "/v1/chat/completions",
        {"model": "current", "messages": [{"role": "user", "content": "Grüße, 漢字"}], "max_tokens": 5},
    )
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] > 0


def test_without_a_home_and_a_locale_behind_proxies_in_a_long_folder(tmp_path: Path) -> None:
    """A path that no unix socket could have, with spaces and umlauts; no standard input; umask 077; 64 files."""
    data = tmp_path / ("müß e" * 30) / "dätä"
    data.mkdir(parents=True)
    assert len(str(data)) > 160
    base = USUAL | PROXIES | {"LC_ALL": "C", "TZ": "Pacific/Chatham", "NOA_DATA_DIR": str(data)}
    closed = ["bash", "-c", 'umask 077; ulimit -n 64; exec "$@" <&-', "bash"]
    server = NoaServer(data, prefix=closed, base=base).start()
    try:
        answers(server)
        noa = Path(sys.executable).with_name("noa")
        client = base | {"NOA_URL": server.url, "NOA_API_KEY": server.api_key}
        listed = subprocess.run([noa, "ls"], env=client, capture_output=True, timeout=60, check=False)
        assert listed.returncode == 0, listed.stderr
        assert b"noa-demo" in listed.stdout
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_with_a_home_that_cannot_be_written_an_unknown_zone_and_no_temporary_folder(tmp_path: Path) -> None:
    """Only `::1`; a relative data folder."""
    base = USUAL | {
        "HOME": "/proc",
        "LC_ALL": "POSIX",
        "TZ": "Nowhere/None",
        "TMPDIR": str(tmp_path / "missing"),
        "NOA_DATA_DIR": "relative data",
        "PYTHONPATH": str(ROOT),
    }
    program = [sys.executable, str(ROOT / "manage.py"), "serve"]
    server = NoaServer(tmp_path / "relative data", program=program, folder=tmp_path, base=base, host="::1")
    server.start()
    try:
        server.host = "[::1]"
        answers(server)
        assert (tmp_path / "relative data").is_dir()
    finally:
        assert server.stop() == 0


def test_without_standard_streams(tmp_path: Path) -> None:
    """A service manager can close all three; readiness is asked for."""
    server = NoaServer(tmp_path / "data")
    environment = os.environ | {"NOA_DATA_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "manage.py", "serve"]
    process = subprocess.Popen([*command, "--port", str(server.port)], cwd=ROOT, env=environment)
    try:
        until(lambda: process.poll() is not None or is_ready(server), "the server is ready", seconds=90)
        assert process.poll() is None, f"it ended with {process.poll()}"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def is_ready(server: NoaServer) -> bool:
    try:
        status, _ = server.api("GET", "/readyz?model=current")
    except OSError:
        return False
    return status == 200
