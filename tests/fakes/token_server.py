"""A model's server that counts what it has spent, and ends its answers in every way, also without usage.

In a test: `with TokenServer() as server: server.reset("cut_mid")`; it listens on `server.port` and, as a runner does,
on the unix socket `server.path`. A word of the prompt is a token, and so is each word of the answer, which has as many
as the request allows, at most 100. `spent` are the tokens of all requests, `held` is set when an answer is held back.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE = 10.0
MOST_TOKENS = 100
# The end of an answer whose server states its usage in this form.
USAGES: dict[str, Any] = {
    "no_usage": None,
    "null": None,
    "empty": {},
    "zero": 0,
    "negative": -7,
    "huge": 10**18,
    "text": "12",
    "fraction": 1.5,
    "truth": True,
}
# What the server does with an answer, besides those.
ENDINGS = (
    "ok",
    "hold_before_headers",
    "hold_mid",
    "hold_before_usage",
    "cut_before_headers",
    "cut_mid",
    "error_mid",
    *USAGES,
)
_LENGTHS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Spent:
    prompt: int = 0
    completion: int = 0


class TokenServer:
    def __init__(self) -> None:
        self.endings: tuple[str, ...] = ("ok",)
        self.spent = Spent()
        self.requests = 0
        self.held = threading.Event()
        # The first words of the prompts whose answers are held back.
        self.held_marks: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="noa-"))
        self.path = str(self._folder / "tokens.sock")
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="token-server", daemon=True)

    def __enter__(self) -> TokenServer:
        self._thread.start()
        assert self._ready.wait(DEADLINE), "the token server did not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        shutil.rmtree(self._folder, ignore_errors=True)

    def reset(self, *endings: str) -> None:
        """Gives the endings of the next answers, in turn; further answers have the last one."""
        assert set(endings) <= set(ENDINGS), endings
        self.endings, self.spent, self.requests = endings or ("ok",), Spent(), 0
        self.held.clear()
        self.held_marks.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        network = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        local = await asyncio.start_unix_server(self._accept, self.path, backlog=512)
        self.port = network.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        network.close()
        local.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                path = head.split(b" ", 2)[1].decode()
                await self._answer(path, json.loads(await reader.readexactly(size)), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, path: str, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ending = self.endings[min(self.requests, len(self.endings) - 1)]
        self.requests += 1
        given = body.get("messages") or body.get("prompt") or body.get("input")
        prompt = _words(given)
        self.spent.prompt += prompt
        exchange = _Exchange(self, reader, writer, _shape(path), prompt, _length(path, body), _first_word(given))
        if ending == "cut_before_headers":
            raise ConnectionResetError
        if body.get("stream"):
            await exchange.stream(ending)
        else:
            await exchange.whole(ending)


@dataclass
class _Exchange:
    server: TokenServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    shape: str
    prompt: int
    tokens: int
    mark: str

    async def whole(self, ending: str) -> None:
        # A provider generates the answer to a request without a stream to its end, whether its client waits or not.
        self.server.spent.completion += self.tokens
        text = "".join(f"w{number} " for number in range(self.tokens))
        if ending == "hold_before_headers":
            await self._hold()
        if ending == "error_mid":
            await self._send(b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"error":{"message":"Bad"}}')
            return
        body = json.dumps(_whole(self.shape, text) | self._usage(ending)).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        if ending in ("hold_mid", "hold_before_usage", "cut_mid"):
            await self._send(head + body[: len(body) // 2])
            if ending == "cut_mid":
                raise ConnectionResetError
            await self._hold()
        await self._send(head + body)

    async def stream(self, ending: str) -> None:
        if ending == "hold_before_headers":
            await self._hold()
        await self._send(_CHUNKED)
        for event in _begin(self.shape, self.prompt):
            await self._chunk(event)
        half = -(-self.tokens // 2)
        for number in range(self.tokens):
            self.server.spent.completion += 1
            await self._chunk(_token(self.shape, f"w{number} "))
            if number + 1 == half:
                await self._at_half(ending)
        if ending == "hold_before_usage":
            await self._hold()
        for event in _end(self.shape, self._usage(ending)):
            await self._chunk(event)
        await self._send(b"0\r\n\r\n")

    async def _at_half(self, ending: str) -> None:
        if ending == "cut_mid":
            raise ConnectionResetError
        if ending == "hold_mid":
            await self._hold()
        if ending == "error_mid":
            kind = {"type": "error"} if self.shape == "messages" else {}
            await self._chunk(_event(kind | {"error": {"message": "Overloaded", "type": "overloaded"}}, kind))
            raise ConnectionResetError

    async def _hold(self) -> None:
        """Until the peer leaves."""
        self.server.held_marks.add(self.mark)
        self.server.held.set()
        await self.reader.read()
        raise ConnectionResetError

    def _usage(self, ending: str) -> dict[str, Any]:
        """The object's field `usage`, if it has one."""
        names = (
            ("input_tokens", "output_tokens") if self.shape == "messages" else ("prompt_tokens", "completion_tokens")
        )
        if ending in ("no_usage",):
            return {}
        if ending in ("null", "empty"):
            return {"usage": USAGES[ending]}
        values = (USAGES[ending],) * 2 if ending in USAGES else (self.prompt, self.tokens)
        return {"usage": dict(zip(names, values, strict=True))}

    async def _chunk(self, data: bytes) -> None:
        await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def _send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


def _shape(path: str) -> str:
    return next((name for name in ("messages", "embeddings", "chat") if name in path), "completions")


def _words(value: Any) -> int:
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return _words(value.get("content") or value.get("text"))
    if isinstance(value, list):
        return len(value) if value and isinstance(value[0], int) else sum(_words(item) for item in value)
    return 0


def _first_word(value: Any) -> str:
    if isinstance(value, list) and value:
        return _first_word(value[0])
    if isinstance(value, dict):
        return _first_word(value.get("content") or value.get("text"))
    return value.split(" ", 1)[0] if isinstance(value, str) else ""


def _length(path: str, body: dict[str, Any]) -> int:
    if "embeddings" in path:
        return 0
    limit = next((body[name] for name in _LENGTHS if isinstance(body.get(name), int)), MOST_TOKENS)
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], str | list) else 1
    return int(min(limit, MOST_TOKENS)) * int(max(body.get("n") or 1, body.get("best_of") or 1)) * prompts


def _whole(shape: str, text: str) -> dict[str, Any]:
    if shape == "embeddings":
        return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
    if shape == "messages":
        content = [{"type": "text", "text": text}]
        return {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice |= {"text": text} if shape == "completions" else {"message": {"role": "assistant", "content": text}}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _begin(shape: str, prompt: int) -> Iterator[bytes]:
    if shape == "messages":
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
        # As Anthropic does: the counts so far, of which those of the answer are only a beginning.
        message["usage"] = {"input_tokens": prompt, "output_tokens": 1}
        yield _event({"type": "message_start", "message": message}, message)
        yield _event(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, message
        )
    else:
        yield _event(_chunk_of(shape, {"role": "assistant", "content": ""}))


def _token(shape: str, word: str) -> bytes:
    if shape == "messages":
        delta = {"type": "text_delta", "text": word}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta}, delta)
    return _event(_chunk_of(shape, {"content": word}))


def _end(shape: str, usage: dict[str, Any]) -> Iterator[bytes]:
    if shape == "messages":
        yield _event({"type": "content_block_stop", "index": 0}, usage)
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        counts = usage.get("usage")
        last = {"usage": {"output_tokens": counts["output_tokens"]}} if counts else {}
        yield _event({"type": "message_delta", "delta": delta, **last}, delta)
        yield _event({"type": "message_stop"}, delta)
        return
    yield _event(_chunk_of(shape, {}, "stop"))
    if usage:
        yield _event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], **usage})
    yield b"data: [DONE]\n\n"


def _chunk_of(shape: str, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice |= {"text": delta.get("content", "")} if shape == "completions" else {"delta": delta}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _event(value: dict[str, Any], named: object = None) -> bytes:
    name = b"event: %b\n" % str(value["type"]).encode() if named is not None and "type" in value else b""
    return name + b"data: " + json.dumps(value).encode() + b"\n\n"
