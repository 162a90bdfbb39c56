"""A runner without a model, on a unix socket, that misbehaves on command.

In a test: `with FakeUpstream(path) as upstream: upstream.script("draining", "answer")`; each request consumes the
next word of the script, and `answer` when it is empty. As a program:

    python -m tests.fakes.upstream --socket /tmp/runner.sock --script draining,answer
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

DEADLINE = 5.0
USAGE: dict[str, Any] = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
}
COMMENT = b": noa " + json.dumps({"usage": USAGE}).encode() + b"\n\n"
WORDS = ("The", " quick", " brown", " fox")


@dataclass
class Exchange:
    """One request and its connection."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fake: FakeUpstream
    # Set when the peer closed before the end of the answer.
    left: threading.Event = field(default_factory=threading.Event)

    @property
    def wants_stream(self) -> bool:
        return json.loads(self.body or b"{}").get("stream") is True

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: str, body: bytes, *extra: str) -> None:
        lines = [
            f"HTTP/1.1 {status}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *extra,
        ]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def start_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def peer_left(self) -> None:
        """Waits until the peer closes."""
        await self.reader.read()
        self.left.set()


def event(word: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": finish_reason}
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "fake",
        "choices": [choice],
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def stream_events(*, include_usage: bool = False) -> list[bytes]:
    """As the runner sends them: the comment always, the chunk with usage on request."""
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    usage = [b"data: " + json.dumps(last).encode() + b"\n\n"] if include_usage else []
    words = [event(word) for word in WORDS[:-1]]
    return [*words, event(WORDS[-1], "stop"), *usage, COMMENT, b"data: [DONE]\n\n"]


def whole_answer(path: str) -> bytes:
    if path == "/v1/chat/tokens":
        return json.dumps({"input_tokens": USAGE["prompt_tokens"]}).encode()
    if path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}
        value: dict[str, Any] = {"object": "list", "data": [vector], "model": "fake"}
    else:
        text = "".join(WORDS)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if path == "/v1/completions":
            choice |= {"text": text, "logprobs": None}
        else:
            choice |= {"message": {"role": "assistant", "content": text}}
        value = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "fake",
            "choices": [choice],
        }
    return json.dumps({**value, "usage": USAGE}).encode()


async def _answer(exchange: Exchange) -> None:
    if not exchange.wants_stream:
        await exchange.answer("200 OK", whole_answer(exchange.path))
        return
    await exchange.start_stream()
    options = json.loads(exchange.body).get("stream_options") or {}
    for data in stream_events(include_usage=options.get("include_usage") is True):
        await exchange.chunk(data)
    await exchange.send(b"0\r\n\r\n")


async def _draining(exchange: Exchange) -> None:
    error = {
        "message": "This runner is draining.",
        "type": "server_error",
        "code": "draining",
        "retryable": True,
    }
    await exchange.answer("503 Service Unavailable", json.dumps({"error": error}).encode())


async def _busy(exchange: Exchange) -> None:
    error = {"message": "The queue is full.", "type": "server_error", "code": "queue_full"}
    await exchange.answer("503 Service Unavailable", json.dumps({"error": error}).encode(), "Retry-After: 3")


async def _bad_request(exchange: Exchange) -> None:
    error = {
        "message": "Too long.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
    await exchange.answer("400 Bad Request", json.dumps({"error": error}).encode(), "X-Secret: inner")


async def _close(exchange: Exchange) -> None:
    """Reads the request and closes without an answer."""


async def _half_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


async def _cut_body(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"half":')


async def _cut_before_events(exchange: Exchange) -> None:
    await exchange.start_stream()


async def _cut_stream(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.chunk(event("one"))
    await exchange.chunk(event("two") + b'data: {"id": "half an ev')


async def _hang(exchange: Exchange) -> None:
    await exchange.peer_left()


async def _hang_in_stream(exchange: Exchange) -> None:
    await exchange.start_stream()
    await exchange.chunk(event("one"))
    await exchange.peer_left()


async def _hang_after_done(exchange: Exchange) -> None:
    await exchange.start_stream()
    for data in stream_events():
        await exchange.chunk(data)
    await exchange.peer_left()


async def _hang_in_body(exchange: Exchange) -> None:
    await exchange.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"half":')
    await exchange.peer_left()


async def _paced(exchange: Exchange) -> None:
    """A stream that continues when `FakeUpstream.go` is set."""
    await exchange.start_stream()
    await exchange.chunk(event("one"))
    await asyncio.to_thread(exchange.fake.go.wait, DEADLINE)
    await exchange.chunk(event("two") + b"data: [DONE]\n\n")
    await exchange.send(b"0\r\n\r\n")


async def _held(exchange: Exchange) -> None:
    """The answer, once `FakeUpstream.go` is set."""
    await asyncio.to_thread(exchange.fake.go.wait, DEADLINE)
    await _answer(exchange)


async def _held_briefly(exchange: Exchange) -> None:
    """Long enough for a few pings."""
    await asyncio.to_thread(exchange.fake.go.wait, 0.3)
    await _answer(exchange)


async def _held_refusal(exchange: Exchange) -> None:
    await asyncio.to_thread(exchange.fake.go.wait, DEADLINE)
    await _bad_request(exchange)


async def _flood(exchange: Exchange) -> None:
    """Sends events as long as the peer reads, and counts the bytes in `FakeUpstream.flooded`."""
    await exchange.start_stream()
    data = event("x" * 4000) * 16
    try:
        while True:
            await exchange.chunk(data)
            exchange.fake.flooded += len(data)
    except ConnectionError:
        exchange.left.set()
        raise


async def _large(exchange: Exchange) -> None:
    """A whole answer that is larger than the gateway's buffer."""
    body = b'{"data": "' + b"x" * (3 * 1024 * 1024) + b'", "usage": ' + json.dumps(USAGE).encode() + b"}"
    await exchange.answer("200 OK", body)


async def _raw(exchange: Exchange) -> None:
    """Sends the bytes of `FakeUpstream.raw`."""
    await exchange.send(exchange.fake.raw)


async def _raw_hang(exchange: Exchange) -> None:
    await exchange.send(exchange.fake.raw)
    await exchange.peer_left()


async def _answer_and_close(exchange: Exchange) -> None:
    await _answer(exchange)


Behaviour = Callable[[Exchange], Awaitable[None]]

BEHAVIOURS: dict[str, Behaviour] = {
    "answer": _answer,
    "answer_and_close": _answer_and_close,
    "bad_request": _bad_request,
    "busy": _busy,
    "close": _close,
    "cut_before_events": _cut_before_events,
    "cut_body": _cut_body,
    "cut_stream": _cut_stream,
    "draining": _draining,
    "flood": _flood,
    "half_head": _half_head,
    "hang": _hang,
    "held": _held,
    "held_briefly": _held_briefly,
    "held_refusal": _held_refusal,
    "hang_after_done": _hang_after_done,
    "hang_in_body": _hang_in_body,
    "hang_in_stream": _hang_in_stream,
    "large": _large,
    "paced": _paced,
    "raw": _raw,
    "raw_hang": _raw_hang,
}
# After these the connection is kept; after any other it is closed.
_KEPT = frozenset({"answer", "bad_request", "busy", "draining", "large", "paced"})


class FakeUpstream:
    """The program, on a thread with its own event loop. `exchanges` are all its requests."""

    def __init__(self, path: str, *script: str) -> None:
        self.path = path
        self.raw = b""
        self.go = threading.Event()
        self.flooded = 0
        self.connections = 0
        self.exchanges: list[Exchange] = []
        self._script = deque(script)
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-upstream", daemon=True)

    def __enter__(self) -> FakeUpstream:
        self._thread.start()
        assert self._ready.wait(DEADLINE), f"the fake upstream did not listen at {self.path}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the fake upstream did not stop"

    def script(self, *words: str) -> None:
        """The behaviours for the next requests; afterwards `answer`."""
        assert BEHAVIOURS.keys() >= set(words), f"unknown behaviour in {words}"
        self._script = deque(words)

    def reset(self) -> None:
        self.script()
        self.go.clear()
        self.flooded = 0
        self.exchanges.clear()

    def wait_for_exchange(self, number: int = 1) -> Exchange:
        """Waits for the n-th request since the last reset, and returns it."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.exchanges) >= number, DEADLINE)
        assert came, f"request {number} did not reach the fake upstream"
        return self.exchanges[number - 1]

    def close_idle(self) -> None:
        """Closes every connection from this side, and returns when that is done."""
        closed = threading.Event()

        def close() -> None:
            for writer in self._writers:
                writer.transport.abort()
            self._loop.call_soon(closed.set)

        self._loop.call_soon_threadsafe(close)
        assert closed.wait(DEADLINE), "the fake upstream did not close its connections"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.serve())
        self._loop.close()

    async def serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_unix_server(self._accept, self.path)
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        exchange = Exchange(head[0].split(" ")[1], headers, body, reader, writer, self)
        with self._changed:
            self.exchanges.append(exchange)
            self._changed.notify_all()
        word = self._script.popleft() if self._script else "answer"
        await BEHAVIOURS[word](exchange)
        return word in _KEPT


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--script", default="")
    options = parser.parse_args(arguments)
    words = [word for word in options.script.split(",") if word]
    asyncio.run(FakeUpstream(options.socket, *words).serve())


if __name__ == "__main__":
    main(sys.argv[1:])
