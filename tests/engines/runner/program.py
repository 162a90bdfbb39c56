"""A real runner program under test, and its clients."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import openai

from models_app.engines import control, process
from models_app.engines.process import Ready, RunnerProcess
from models_app.engines.spec import RunnerSpec
from tests.waiting import until

COMMAND = (sys.executable, "-m", "models_app.engines.runner")
WAIT = 30.0
# The deadline to detect a disconnect.
SOON = 1.0


@dataclass
class Program:
    spec: RunnerSpec
    process: RunnerProcess
    stages: list[tuple[str, float]]
    ready: Ready | None = None

    def wait_ready(self) -> Program:
        """Raises LoadFailed when it reports a failure, or exits."""
        self.ready = self.process.wait_ready(
            timeout=WAIT,
            on_stage=lambda stage, progress: self.stages.append((stage, progress)),
            stop=lambda: None,
        )
        return self

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON of one request on its own connection."""
        connection = http.client.HTTPConnection("runner", timeout=WAIT)
        connection.sock = self.connect()
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            assert response.getheader("content-type") == "application/json"
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def post(self, path: str, **fields: Any) -> tuple[int, Any]:
        return self.ask("POST", path, json.dumps({"model": "m"} | fields).encode())

    def chat(self, content: str = "Hi", **fields: Any) -> tuple[int, Any]:
        messages = [{"role": "user", "content": content}]
        return self.post("/v1/chat/completions", **({"messages": messages} | fields))

    def refusal(self, path: str, **fields: Any) -> tuple[str, str | None]:
        """Code and param of a request that is answered with 400."""
        status, answer = self.post(path, **fields)
        assert status == 400, answer
        return answer["error"]["code"], answer["error"]["param"]

    def start(self, path: str, **fields: Any) -> socket.socket:
        """Sends a request and returns its connection."""
        body = json.dumps({"model": "m"} | fields).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: runner\r\nContent-Length: {len(body)}\r\n\r\n"
        client = self.connect()
        client.sendall(head.encode() + body)
        return client

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(WAIT)
        client.connect(self.spec.socket)
        return client

    def health(self) -> dict[str, Any]:
        return control.health(self.spec.socket)

    def until_health(self, what: str, seconds: float = WAIT, **wanted: Any) -> None:
        """Waits until /health shows these values; `busy` and `cancelled` are nested values."""

        def look() -> bool:
            health = self.health()
            flat = health | health["counters"] | health["slots"]
            return all(flat[name] == value for name, value in wanted.items())

        until(look, what, seconds)

    def sdk(self) -> openai.OpenAI:
        transport = httpx2.HTTPTransport(uds=self.spec.socket)
        return openai.OpenAI(
            base_url="http://runner/v1",
            api_key="none",
            http_client=httpx2.Client(transport=transport, timeout=WAIT),
            max_retries=0,
        )

    def exit_code(self) -> int:
        return self.process.popen.wait(WAIT)

    def end(self) -> None:
        if self.process.popen.poll() is None:
            self.process.popen.kill()
        self.process.popen.wait(WAIT)
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.close()


def launch(folder: Path, model: Path, **options: Any) -> Program:
    """Spawns a runner as a supervisor does; `wait_ready` comes next."""
    spec = RunnerSpec(
        instance_id="0a1b2c3d",
        model="llama.cpp:tiny",
        fingerprint="fp-1",
        path=str(model),
        socket=str(folder / "runner.sock"),
        n_ctx=2048,
        slots=4,
        n_batch=512,
        n_threads=2,
        n_gpu_layers=0,
    )
    spec = replace(spec, **options)
    runner = process.spawn(COMMAND, spec, folder / "runner.log")
    threading.Thread(target=_report_exit, args=(runner,), daemon=True).start()
    return Program(spec, runner, [])


def _report_exit(runner: RunnerProcess) -> None:
    """As a supervisor does."""
    runner.popen.wait()
    runner.exited.set()
