"""The whole server as a process, as `make serve` starts it."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson

ROOT = Path(__file__).resolve().parent.parent.parent
# A load of a demo model takes about a second; a busy CI machine can need much longer.
START_SECONDS = 90.0
STOP_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class NoaServer:
    """A running server. `api_key` and `password` are what its first start printed."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    # Its host and the command prefix to run there: another host is another network namespace.
    host: str = "127.0.0.1"
    prefix: list[str] = field(default_factory=list)
    # The program, its working folder and its environment: None is this process's, with NOA_DATA_DIR.
    program: list[str] = field(default_factory=lambda: [sys.executable, "manage.py", "serve"])
    folder: Path = ROOT
    base: dict[str, str] | None = None
    port: int = field(default_factory=free_port)
    api_key: str = ""
    password: str = ""
    output: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] = field(init=False)
    _reader: threading.Thread = field(init=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> NoaServer:
        """Returns when the server reports ready; fails with its output when it exits earlier."""
        self.process = subprocess.Popen(
            [*self.prefix, *self.program, "--host", self.host, "--port", str(self.port), *self.arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=(self.base or os.environ | {"NOA_DATA_DIR": str(self.data_dir)}) | self.environment,
            start_new_session=True,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()
        deadline = monotonic() + START_SECONDS
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - monotonic()))
            except queue.Empty:
                self.kill()
                raise AssertionError(f"Not ready after {START_SECONDS} s:\n{self.text}") from None
            if line is None:
                raise AssertionError(f"The server ended at its start:\n{self.text}")
            if "Stop with Ctrl-C" in line:
                self._learn()
                return self

    def _read(self, lines: queue.SimpleQueue[str | None]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            lines.put(line)
        lines.put(None)

    def _learn(self) -> None:
        if found := re.search(r"API key   (noa_\S+)", self.text):
            self.api_key = found[1]
        if found := re.search(r", password (\S+)", self.text):
            self.password = found[1]

    @property
    def text(self) -> str:
        return "".join(self.output)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop as by Ctrl-C; returns the exit code."""
        self.process.send_signal(number)
        return self._wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._wait()

    def _wait(self) -> int:
        code = self.process.wait(STOP_SECONDS)
        assert self.process.stdout is not None
        self._reader.join(STOP_SECONDS)
        self.process.stdout.close()
        return code

    def api(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON of a request to the API or the gateway."""
        request = Request(
            self.url + path,
            method=method,
            data=None if body is None else orjson.dumps(body),
            headers={
                "Authorization": f"Bearer {self.api_key if key is None else key}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urlopen(request, timeout=120) as answer:
                return answer.status, orjson.loads(answer.read() or b"null")
        except HTTPError as error:
            return error.code, orjson.loads(error.read())

    def runner_pids(self) -> list[int]:
        """The processes of the loaded models."""
        _, answer = self.api("GET", "/api/v1/models/loaded")
        return [instance["pid"] for instance in answer["instances"] if instance["pid"]]
