"""A gateway behind the real HTTP server, and a client that sends exactly the given bytes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, cast

import uvicorn

from models_app.domain.records.access import AccessRecord
from models_app.domain.residency.demand import EVERYTHING
from models_app.domain.traffic.routing import KeyEntry, ModelEntry, Snapshot, Target, hash_api_key
from models_app.engines.connections import Connections
from models_app.gateway.edge.app import Gateway
from models_app.gateway.http.request_body import Limits
from models_app.gateway.http.server import FrontProtocol, Server
from models_app.gateway.recording.recorder import Recorder

DEADLINE = 10.0

KEY = "noa_test_key"
EXPIRED_KEY = "noa_expired_key"
READER_KEY = "noa_reader_key"
CHAT = "llama.cpp:org/chat-7b.q4"
EMBEDDER = "llama.cpp:embedder"
COLD = "llama.cpp:cold"
TEXT = frozenset({"chat_completion", "text_generation", "streaming"})


def snapshot(address: str, revision: int = 1, **routes: str | None) -> Snapshot:
    """Two loaded models at `address`, one that is not loaded, and the routes `current` and `empty`."""

    def entry(key: str, able: frozenset[str] | None) -> ModelEntry:
        provider, _, model_id = key.partition(":")
        target = Target(key, f"instance-{model_id}", address, able) if able is not None else None
        return ModelEntry(key, model_id, provider, 1_700_000_000, target)

    cold = dataclasses.replace(entry(COLD, None), permission=EVERYTHING, capabilities=TEXT)
    entries = [entry(CHAT, TEXT), entry(EMBEDDER, frozenset({"embeddings"})), cold]
    return Snapshot(
        revision=revision,
        routes={"current": CHAT, "empty": None, "cold-route": COLD, **routes},
        models={entry.key: entry for entry in entries},
        keys={
            hash_api_key(KEY): KeyEntry("key-1", frozenset({"infer"}), None),
            hash_api_key(EXPIRED_KEY): KeyEntry("key-2", frozenset({"infer"}), 1.0),
            hash_api_key(READER_KEY): KeyEntry("key-3", frozenset({"models:read"}), None),
        },
        short_names={"org/chat-7b.q4": CHAT, "embedder": EMBEDDER, "cold": COLD},
    )


class Source:
    """Snapshots that a test sets. `next` is the result of later refreshes."""

    def __init__(self, current: Snapshot) -> None:
        self.listener: Callable[[], None] = lambda: None
        self._current = current
        self.next: Snapshot | None = None
        self.reasons: list[str] = []

    @property
    def current(self) -> Snapshot:
        return self._current

    @current.setter
    def current(self, new: Snapshot) -> None:
        self._current = new
        self.listener()

    async def refresh(self, reason: str) -> Snapshot:
        self.reasons.append(reason)
        self.current = self.next or self.current
        return self.current


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        code: str = self.json["error"]["code"]
        return code


class _Unclosable:
    """A reader that ignores http.client's close after each answer."""

    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def close(self) -> None:
        pass


class Wire:
    """One TCP connection to the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        # One buffer for all answers: one can be read together with the next.
        self._reader = self.socket.makefile("rb")

    def makefile(self, _mode: str) -> _Unclosable:
        """The reader for http.client."""
        return _Unclosable(self._reader)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def answer(self, method: str = "POST") -> Answer:
        """The next whole answer."""
        response = http.client.HTTPResponse(cast(socket.socket, self), method=method)
        response.begin()
        with response:
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def rest(self) -> bytes:
        """The bytes until the server closes; a reset counts as closed."""
        parts = []
        try:
            while data := self._reader.read1(65536):
                parts.append(data)
        except ConnectionError:
            pass
        return b"".join(parts)

    def reaction(self, data: bytes) -> int:
        """The status of the answer to these bytes; 0 when the server closes without an answer."""
        # The server can answer, and close, before it has read everything.
        with contextlib.suppress(ConnectionError):
            self.send(data)
        try:
            return self.answer().status
        except (http.client.HTTPException, ConnectionError):
            return 0

    def until(self, mark: bytes) -> bytes:
        """Everything up to `mark`."""
        data = bytearray()
        while data.find(mark, -65536 - len(mark)) < 0:
            part = self._reader.read1(65536)
            assert part, f"closed before {mark!r}: {bytes(data[-500:])!r}"
            data += part
        return bytes(data)


@dataclass
class Served:
    """A running server. `records` are the access records that its sink has received."""

    port: int
    gateway: Gateway
    source: Source
    recorder: Recorder
    server: Server
    loop: asyncio.AbstractEventLoop
    stored: list[AccessRecord] = field(default_factory=list)

    def wire(self) -> Wire:
        return Wire(self.port)

    def records(self) -> list[AccessRecord]:
        assert self.recorder.flush(DEADLINE), "the recorder did not deliver its records"
        return self.stored

    def record_of(self, request_id: str) -> AccessRecord:
        """Waits for the record of a request, which is written after the answer has been sent."""
        found: list[AccessRecord] = []

        def look() -> bool:
            found[:] = [record for record in self.records() if record.client_request_id == request_id]
            return bool(found)

        wait_until(look, f"the access record of {request_id}")
        assert len(found) == 1, f"{len(found)} records of one request"
        return found[0]

    def ask(self, data: bytes, method: str = "POST") -> Answer:
        with self.wire() as wire:
            return wire.send(data).answer(method)

    def post(self, body: object, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        return self.ask(request(body, path, **headers))

    def get(self, path: str, method: str = "GET") -> Answer:
        return self.ask(request(b"", path, method=method), method)

    def works(self) -> None:
        """A good request is answered."""
        answer = self.post({"model": "current"})
        assert answer.status == 200, answer


def wait_until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.005)


def request(body: object, path: str = "/v1/chat/completions", *, method: str = "POST", **headers: str) -> bytes:
    """The bytes of a good request; a header with the value '' is omitted, `_` in its name is a dash."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(raw)) if raw or method == "POST" else "",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items() if value),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + raw


@contextlib.contextmanager
def serve(
    address: str,
    *,
    limits: Limits | None = None,
    protocol: type[FrontProtocol] = FrontProtocol,
    app: Any = None,
    around: Callable[[Any], Any] = lambda app: app,
    sink: Callable[[list[AccessRecord]], None] | None = None,
    drain_seconds: float = 2.0,
    connections: Connections | None = None,
    trusted_proxies: Sequence[str] = (),
    **options: Any,
) -> Iterator[Served]:
    """A gateway in front of the runner at `address`, in a thread with uvicorn and uvloop. `options` are Gateway's.

    `around` wraps the application.
    """
    source = Source(snapshot(address))
    stored: list[AccessRecord] = []
    recorder = Recorder(sink or stored.extend)
    gateway = Gateway(source, recorder, limits, **options)
    source.listener = gateway.pending.wake
    config = uvicorn.Config(
        around(app or gateway),
        http=protocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )

    async def drain() -> None:
        await gateway.close(drain_seconds)

    server = Server(config, drain, connections=connections, trusted_proxies=trusted_proxies)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), name="gateway", daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server to start")
    loop = server.servers[0].get_loop()
    served = Served(listener.getsockname()[1], gateway, source, recorder, server, loop, stored)
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        recorder.close()
        assert not thread.is_alive(), "the server did not stop"
