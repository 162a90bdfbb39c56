"""A runner without a model: implements the runner's protocol and misbehaves on command.

`python tests/fakes/runner.py --behaviour NAME --spec JSON --ready-fd N`; the names are in `BEHAVIOURS`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

from models_app.engines import marks
from models_app.engines.marks import Marks

BEHAVIOURS = {
    "good": "serves",
    "fails-to-load": "says that it failed in stage 'load'",
    "dies-while-loading": "writes a line to its log and exits with code 7",
    "never-ready": "reports that it is loading, for ever",
    "ignores-sigterm": "serves, and only SIGKILL ends it",
    "has-a-child": "serves, and has started a child process, whose id is in <socket>.child",
    "computes-nothing": "reports that it is healthy, and never answers a request",
    "heavy": "serves, and reports 100 MiB; /busy?in_flight=N sets its load, /idle?seconds=N the time that it is idle",
    "keeps-working": "serves, and never has 0 requests in flight",
    "waits-for-go": "loads until the file of --go exists, then serves",
    "crashes": "serves, and ends by SIGSEGV when a request contains the text of --crash-at",
    "hangs": "serves, and computes for ever when a request contains the text of --crash-at: no other thread runs then",
}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.answer(
            {
                "state": "draining" if self.server.draining else "ready",
                "in_flight": self.server.in_flight,
                "queued": 0,
                "pid": os.getpid(),
                "idle_seconds": 0 if self.server.in_flight else monotonic() - self.server.started,
                "slots": {"total": 1, "busy": 0},
                "memory": {"rss_bytes": 1000},
                "counters": {"steps": self.server.steps},
            }
        )

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = parse_qs(url.query)
        if url.path == "/busy":
            self.server.in_flight = int(query["in_flight"][0])
            self.server.changed.set()
        if url.path == "/idle":
            self.server.started = monotonic() - float(query["seconds"][0])
        if url.path == "/drain":
            self.server.draining = "if_idle" not in query or not self.server.in_flight
        if url.path == "/drain" and "if_idle" in query:
            self.answer({"draining": not self.server.in_flight, "in_flight": self.server.in_flight})
            return
        if url.path == "/drain" and self.server.in_flight:
            self.server.changed.clear()
            self.server.changed.wait(float(query["wait"][0]))
        if url.path.startswith("/v1/"):
            if self.server.computes_nothing:
                threading.Event().wait()
            self.server.steps += 1
            self.complete(body)
            return
        self.answer({"in_flight": self.server.in_flight})

    def complete(self, body: bytes) -> None:
        """One word, whole or as a stream."""
        if self.server.hang_at and self.server.hang_at in body:
            self.server.marks.loop.set(self.headers.get("X-NOA-Request", ""))
            # Exponentially many attempts, during which the interpreter's lock is held.
            re.match(r"(a|aa)+$", "a" * 200 + "b")
        if self.server.crash_at and self.server.crash_at in body:
            os.kill(os.getpid(), signal.SIGSEGV)
            # Another thread can receive the signal.
            threading.Event().wait()
        word = {"role": "assistant", "content": "Hello!"}
        rest = {"id": "chatcmpl-1", "created": 1, "model": self.server.model}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        if not json.loads(body).get("stream"):
            choice = {"index": 0, "message": word, "finish_reason": "stop"}
            self.answer({**rest, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        piece = {"index": 0, "delta": word, "finish_reason": "stop"}
        event = {**rest, "object": "chat.completion.chunk", "choices": [piece]}
        self.send(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")

    def answer(self, body: dict[str, Any]) -> None:
        self.send(json.dumps(body).encode(), "application/json")

    def send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # As the runner's: many clients can connect at once.
    request_queue_size = 512
    in_flight = 0
    draining = False
    model = ""
    crash_at = hang_at = b""
    marks: Marks
    # Its requests, canaries included.
    steps = 0
    computes_nothing = False
    started = monotonic()
    changed = threading.Event()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--behaviour", choices=BEHAVIOURS, default="good")
    arguments.add_argument("--go", type=Path)
    arguments.add_argument("--crash-at", type=str.encode, default=b"")
    arguments.add_argument("--spec", type=json.loads, required=True)
    arguments.add_argument("--ready-fd", type=int, required=True)
    options = arguments.parse_args()
    threading.Thread(target=exit_with_parent, daemon=True).start()

    def tell(**message: Any) -> None:
        os.write(options.ready_fd, json.dumps(message).encode() + b"\n")

    tell(event="stage", stage="load", progress=0.5)
    if options.behaviour == "fails-to-load":
        tell(event="failed", stage="load", message="The file has no tensors.")
        sys.exit(64)
    if options.behaviour == "dies-while-loading":
        sys.stderr.write("something terrible happened\n")
        sys.exit(7)
    if options.behaviour == "never-ready":
        signal.pause()
    if options.behaviour == "waits-for-go":
        while not options.go.exists():
            threading.Event().wait(0.01)
    if options.behaviour == "ignores-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.behaviour == "has-a-child":
        child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
        Path(options.spec["socket"] + ".child").write_text(str(child.pid))
    server = Server(options.spec["socket"], Answers)
    server.model, server.marks = options.spec["model"], marks.create(marks.path_of(options.spec["socket"]))
    if options.behaviour == "hangs":
        server.hang_at = options.crash_at
    else:
        server.crash_at = options.crash_at
    server.in_flight = 1 if options.behaviour == "keeps-working" else 0
    server.computes_nothing = options.behaviour == "computes-nothing"
    tell(
        event="ready",
        pid=os.getpid(),
        n_ctx=options.spec["n_ctx"],
        slots=options.spec["slots"],
        memory={"rss_bytes": 100 << 20 if options.behaviour == "heavy" else 1000},
    )
    os.close(options.ready_fd)
    server.serve_forever()


def exit_with_parent() -> None:
    # Not sys.stdin: a thread that holds its lock makes the interpreter abort at exit.
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
