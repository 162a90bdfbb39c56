"""A server on loopback that answers like NOA's API, from data that a test sets, and records its requests."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "noa_0123456789ab_secret"
JOB_ID = "7f1c9f0e-6f43-4a35-9d1b-5d2c1f3a9b10"
_TIME = "2026-11-20T08:00:00Z"


def model(key: str, **fields: Any) -> dict[str, Any]:
    """A model as GET /models lists it."""
    provider, _, model_id = key.partition(":")
    version = {
        "sha256": "ab" * 32,
        "path": f"/models/{model_id}.gguf",
        "size_bytes": 5 * 1024 * 1024,
        "quantization": "Q8_0",
        "architecture": "llama",
        "created_at": _TIME,
    }
    return {
        "key": key,
        "provider": provider,
        "model_id": model_id,
        "name": model_id,
        "description": "",
        "status": "available",
        "failure": None,
        "deprecated": False,
        "deprecation_note": "",
        "wanted": False,
        "capabilities": ["text_generation", "chat_completion"],
        "proven": [],
        "context_window": 1024,
        "max_output_tokens": None,
        "load_options": {},
        "pinned": False,
        "priority": 50,
        "idle_ttl_seconds": None,
        "min_residency_seconds": None,
        "on_demand": True,
        "tags": [],
        "metadata": {},
        "price": None,
        "performance": {},
        "version": version,
        "gone_at": None,
        "access_count": 0,
        "last_accessed_at": None,
        "created_at": _TIME,
        "updated_at": _TIME,
    } | fields


def instance(key: str, **fields: Any) -> dict[str, Any]:
    """An instance as GET /models/loaded lists it."""
    return {
        "id": "0d9a1c52-8f40-4b7e-9a77-0c6f5ab0f1aa",
        "key": key,
        "node": "local",
        "state": "ready",
        "pid": 4242,
        "pid_started_at": 1.0,
        "context_tokens": 1024,
        "slots": 16,
        "memory_bytes": 120 * 1024 * 1024,
        "memory_estimate_bytes": 110 * 1024 * 1024,
        "in_flight": 2,
        "load_seconds": 0.8,
        "fingerprint": "abababababab-0d9a1c52",
        "options": {},
        "health": {"state": "healthy", "since": _TIME, "reason": "", "last_success_at": _TIME},
        "created_at": _TIME,
        "ready_at": _TIME,
    } | fields


def step(name: str, state: str = "done", detail: str = "") -> dict[str, Any]:
    seconds = None if state == "running" else 0.5
    return {
        "name": name,
        "state": state,
        "started_at": _TIME,
        "seconds": seconds,
        "detail": detail,
    }


def job(kind: str, state: str = "queued", **fields: Any) -> dict[str, Any]:
    """A job as GET /jobs/{id} shows it."""
    return {
        "id": JOB_ID,
        "kind": kind,
        "subject": "llama.cpp:tide",
        "arguments": {},
        "state": state,
        "progress": 1.0 if state == "succeeded" else 0.0,
        "steps": [],
        "result": None,
        "error": None,
        "actor": "key:test",
        "node": "local",
        "cancellable": True,
        "cancel_requested_at": None,
        "cancelled_by": "",
        "created_at": _TIME,
        "started_at": None,
        "finished_at": None,
    } | fields


def error(code: str, message: str, **fields: Any) -> dict[str, Any]:
    body = {
        "message": message,
        "type": "server_error",
        "code": code,
        "param": None,
        "retryable": False,
    }
    return {"error": body | fields}


def chunk(text: str) -> str:
    """One event of a streamed answer."""
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


@dataclass
class FakeNoa:
    """The server's data. A path in `answers` takes precedence: (status, body) or raw bytes."""

    models: list[dict[str, Any]] = field(default_factory=list)
    loaded: dict[str, Any] = field(default_factory=lambda: {"count": 0, "current_model": None, "instances": []})
    # The answers to polls of a job, in order; the last one stays.
    jobs: deque[dict[str, Any]] = field(default_factory=deque)
    stream: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    page_size: int = 500
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    # Set at the first poll of a job.
    looked: threading.Event = field(default_factory=threading.Event)
    # Requests to a path in it wait for `release`.
    held: set[str] = field(default_factory=set)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def bodies(self, path: str) -> list[Any]:
        """The bodies that were sent to `path`."""
        return [body for _, asked, body in self.asked if body is not None and asked == path]

    def page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        found = [one for one in self.models if _matches(one, query)]
        number = int(query["page"][0])
        start = (number - 1) * self.page_size
        more = f"{self.url}/api/v1/models?page={number + 1}"
        return {
            "count": len(found),
            "next": more if start + self.page_size < len(found) else None,
            "previous": None,
            "models": found[start : start + self.page_size],
        }

    def catalogue(self) -> dict[str, Any]:
        route = {"id": "current", "object": "model", "noa": {"kind": "route", "loaded": True}}
        entries = [
            {
                "id": one["key"],
                "object": "model",
                "noa": {"kind": "model", "model_id": one["model_id"]},
            }
            for one in self.models
        ]
        return {"object": "list", "data": [route, *entries]}


def _matches(one: dict[str, Any], query: dict[str, list[str]]) -> bool:
    text = query.get("q", [""])[0]
    return (
        text in one["key"]
        and query.get("provider", [one["provider"]]) == [one["provider"]]
        and query.get("status", [one["status"]]) == [one["status"]]
        and set(query.get("capability", [])) <= set(one["capabilities"])
    )


class _Answer(BaseHTTPRequestHandler):
    noa: FakeNoa

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._take(None)

    def do_POST(self) -> None:
        self._take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_PATCH(self) -> None:
        self.do_POST()

    def _take(self, body: Any) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.noa.asked.append((self.command, path, body))
        if path in self.noa.held:
            self.noa.release.wait(30)
        if path in self.noa.answers:
            self._send(*self.noa.answers[path])
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self._send(401, error("invalid_api_key", "This API key is not known."))
        elif body is not None and body.get("stream"):
            self._send_stream()
        else:
            self._send(*self._find(path, parse_qs(parts.query)))

    def _find(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/api/v1/models":
            return 200, self.noa.page(query)
        if path == "/api/v1/models/loaded":
            return 200, self.noa.loaded
        if path == "/api/v1/jobs":
            return 200, {"jobs": list(self.noa.jobs), "next": None}
        if path == "/v1/models":
            return 200, self.noa.catalogue()
        if path.startswith("/api/v1/jobs/"):
            self.noa.looked.set()
            return 200, self.noa.jobs.popleft() if len(self.noa.jobs) > 1 else self.noa.jobs[0]
        if self.command == "POST" and path.startswith("/api/v1/models/"):
            return 202, self.noa.jobs.popleft()
        return self._model(path.removeprefix("/api/v1/models/"))

    def _model(self, key: str) -> tuple[int, Any]:
        for one in self.noa.models:
            if one["key"] == key:
                return 200, one
        return 404, error("model_not_found", f"No model '{key}' is registered.")

    def _send(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _send_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for data in self.noa.stream:
            self.wfile.write(f"data: {data}\n\n".encode())


class RunningFake:
    """Context manager: the fake on a free port of loopback."""

    def __init__(self) -> None:
        self.noa = FakeNoa()
        answer = type("Answer", (_Answer,), {"noa": self.noa})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
        self._server.daemon_threads = True
        self.noa.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> FakeNoa:
        self._thread.start()
        return self.noa

    def __exit__(self, *_: object) -> None:
        self.noa.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
