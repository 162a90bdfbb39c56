"""The base of the fake providers: a real HTTP server in a thread, a script of faults, a record of every request.

In a test:

    with FakeOpenAI() as fake:                        # or FakeAnthropic()
        fake.script("rate_limited_retry_after", "ok")  # the next two requests; afterwards `fake.default`, "ok"
        ...                                            # send requests to fake.base_url with fake.key
        assert fake.requests[0].body["model"] == "gpt-4o"

The fixtures `fake_openai` and `fake_anthropic` (tests/conftest.py) are such servers, reset for each test.
`script(..., path="/v1/chat/completions")` applies to requests of one path, before the general script.
`fake.wait_for_request(2)` waits for the second request; `request.left` is set when its client disconnects early.
`paced` continues when `fake.go` is set. Another process sets the script by `POST /_script` with
`{"script": ["status_500"], "default": "ok", "path": null}`, reads `GET /_requests`, and resets by `POST /_reset`.

`BEHAVIOURS` (tests/fakes/provider_faults.py) defines the words of a script. As a program:

    python -m tests.fakes.openai_server --port 9001 --key sk-fake --script status_500,ok
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from aiohttp import web

from tests.fakes.provider_faults import BEHAVIOURS, Exchange, Refusal, Reply

DEADLINE = 10.0
# Images and long prompts; the real ones accept 20 to 50 MB.
_MAX_BODY = 64 * 1024 * 1024


@dataclass
class Recorded:
    """One received request. `headers` has names in lower case; `body` is the decoded JSON, or None."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes
    behaviour: str
    body: Any = None
    # Set when the client closed before the answer was complete.
    left: threading.Event = field(default_factory=threading.Event)

    def as_dict(self) -> dict[str, Any]:
        names = ("method", "path", "query", "headers", "behaviour", "body")
        return {name: getattr(self, name) for name in names} | {"left": self.left.is_set()}


class FakeProvider:
    """Base of the fakes: a dialect implements `refuse`, `reply` and the shapes of its errors."""

    default_key: ClassVar[str]
    # The path of a base URL, as clients of the real provider write it.
    base_path: ClassVar[str] = ""

    def __init__(self, *, key: str | None = None, port: int = 0) -> None:
        self.key = self.default_key if key is None else key
        self.port = port
        self.go = threading.Event()
        # Seconds between the events of `slow_tokens`.
        self.pause = 0.05
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self.reset()

    # For tests

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return self.address + self.base_path

    def script(self, *words: str, path: str | None = None) -> None:
        """Sets the behaviours for the next requests (to `path`); replaces the rest of the previous script."""
        assert BEHAVIOURS.keys() >= set(words), f"unknown behaviour in {words}"
        self._scripts[path] = deque(words)

    def reset(self) -> None:
        """Resets requests, scripts and the default."""
        self.requests: list[Recorded] = []
        self.default = "ok"
        self._scripts: dict[str | None, deque[str]] = defaultdict(deque)
        self.go.clear()

    def wait_for_request(self, number: int = 1) -> Recorded:
        """Waits for the n-th request since the last reset, and returns it."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.requests) >= number, DEADLINE)
        assert arrived, f"request {number} did not reach {type(self).__name__}"
        return self.requests[number - 1]

    def start(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE), f"{type(self).__name__} did not listen"
        return self

    def stop(self) -> None:
        self.go.set()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"{type(self).__name__} did not stop"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # For dialects

    def refuse(self, request: Recorded) -> Refusal | None:
        """The error of an invalid request, such as one with a wrong key; None for a valid one."""
        raise NotImplementedError

    def reply(self, request: Recorded) -> Reply:
        """The successful answer."""
        raise NotImplementedError

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """The error body of this dialect."""
        raise NotImplementedError

    def error_event(self, refusal: Refusal) -> bytes:
        """The error event of a stream in this dialect."""
        raise NotImplementedError

    # The server

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.serve())
        self._loop.close()

    async def serve(self) -> None:
        """Serves until `stop`; sets `port`."""
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.0, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if request.path.startswith("/_"):
            return self._control(request.path, raw)
        recorded = self._record(request, raw)
        exchange = Exchange(request, recorded, self)
        try:
            return await BEHAVIOURS[recorded.behaviour](exchange)
        except (asyncio.CancelledError, ConnectionError):
            if not exchange.closed_here:
                recorded.left.set()
            raise

    def _record(self, request: web.Request, raw: bytes) -> Recorded:
        headers = {name.lower(): value for name, value in request.headers.items()}
        recorded = Recorded(
            request.method,
            request.path,
            dict(request.query),
            headers,
            raw,
            self._next_behaviour(request.path),
            _decoded(raw),
        )
        with self._changed:
            self.requests.append(recorded)
            self._changed.notify_all()
        return recorded

    def _next_behaviour(self, path: str) -> str:
        script = self._scripts[path] or self._scripts[None]
        return script.popleft() if script else self.default

    def _control(self, path: str, raw: bytes) -> web.Response:
        if path == "/_script":
            order = json.loads(raw)
            self.script(*order.get("script", ()), path=order.get("path"))
            self.default = order.get("default", self.default)
        elif path == "/_reset":
            self.reset()
        elif path == "/_requests":
            return web.json_response([request.as_dict() for request in self.requests])
        else:
            return web.Response(status=404)
        return web.Response(status=204)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def main(provider: type[FakeProvider], description: str | None) -> None:
    """The fake as a program, until it is interrupted."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=provider.default_key)
    parser.add_argument("--script", default="", help="words, separated by commas")
    options = parser.parse_args()
    fake = provider(key=options.key, port=options.port)
    fake.script(*[word for word in options.script.split(",") if word])
    with fake:
        # The parent process waits for this line.
        sys.stdout.write(f"{fake.base_url}\n")
        sys.stdout.flush()
        threading.Event().wait()
