"""Client of a runner's unix socket: health, one token, drain. Blocking: for workers; the gateway has its own."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from models_app.domain.errors import RunnerDied

# A healthy runner answers /health from its event loop in milliseconds, even while it decodes.
HEALTH_TIMEOUT = 5.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _request(path: str, method: str, target: str, timeout: float, body: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(
            method,
            target,
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise RunnerDied(f"The runner answered {response.status} to {method} {target}.")
        answer: dict[str, Any] = json.loads(data)
        return answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RunnerDied(f"The runner does not answer {method} {target}: {error}.") from error
    finally:
        connection.close()


def health(path: str, *, timeout: float = HEALTH_TIMEOUT) -> dict[str, Any]:
    """The runner's /health; raises RunnerDied without an answer within `timeout` seconds."""
    return _request(path, "GET", "/health", timeout)


def canary(path: str, *, embeddings: bool, timeout: float) -> None:
    """Compute one token, or one embedding; raises RunnerDied without an answer within `timeout` seconds."""
    if embeddings:
        _request(path, "POST", "/v1/embeddings?probe=1", timeout, {"model": "canary", "input": "a"})
    else:
        body = {"model": "canary", "prompt": "a", "max_tokens": 1, "temperature": 0}
        _request(path, "POST", "/v1/completions?probe=1", timeout, body)


def drain(path: str, *, wait: float) -> int:
    """Stop the runner from accepting requests and wait up to `wait` seconds; returns the requests still in flight."""
    return int(_request(path, "POST", f"/drain?wait={wait:g}", wait + HEALTH_TIMEOUT)["in_flight"])


def drain_if_idle(path: str) -> bool:
    """Stop the runner from accepting requests unless one is in flight, atomically; returns whether it drains."""
    return bool(_request(path, "POST", "/drain?if_idle=1", HEALTH_TIMEOUT)["draining"])
