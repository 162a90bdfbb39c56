"""Asks one model as a program would, and times what comes back. For probes and profiles, not for the gateway's traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Self

import aiohttp
import orjson

from models_app.domain.errors import NoaError
from models_app.domain.traffic.routing import Target
from models_app.providers.outbound import wire_of
from models_app.providers.wire import http, sse

# An answer to one small request is far below; a server that sends more is not answering it.
_MAX_ANSWER = 16 * 1024 * 1024
# What of a server's error is read, and what of its message is kept.
_MAX_ERROR_BYTES = 64 * 1024
_MAX_ERROR = 500
_CONNECT_SECONDS = 10.0

UNREACHABLE = 0
"""The status of an answer that did not come."""


@dataclass(slots=True)
class Answer:
    """What came back. Times are milliseconds since the request was sent.

    status  HTTP's, or UNREACHABLE
    body    the decoded JSON object of a whole answer; empty for a stream
    events  of a stream: when each event came, and its decoded JSON object
    done    whether a stream ended with `[DONE]`
    error   a sentence; empty when the request was answered whole
    code    the error's code, as the server named it
    param   the parameter that the server complains of
    """

    status: int = UNREACHABLE
    body: Mapping[str, Any] = field(default_factory=dict)
    events: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)
    done: bool = False
    error: str = ""
    code: str = ""
    param: str = ""
    duration_ms: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether the server says that it cannot do this; not that it is busy, or that it does not know us."""
        return self.status in (400, 404, 405, 415, 422, 501)

    @property
    def usage(self) -> Mapping[str, Any]:
        """The token counts; empty when none came."""
        for source in (self.body, *(event for _, event in reversed(self.events))):
            usage = source.get("usage")
            if isinstance(usage, dict):
                return usage
        return {}

    def tokens(self, name: str) -> int | None:
        count = self.usage.get(name)
        return count if type(count) is int and 0 <= count < 2**31 else None

    def fail(self, message: str, code: str, param: str = "") -> None:
        self.error, self.code, self.param = message[:_MAX_ERROR], code[:64], param[:64]


class Asker:
    """Asks one loaded model: `async with Asker(target, connections=…) as ask`. Raises InvalidRequest for its address.

    With `keep_alive` connections are used again, as the gateway does; a request may then meet one that the server is
    just closing, which is an answer with status UNREACHABLE.
    """

    def __init__(self, target: Target, *, connections: int = 1, keep_alive: bool = False) -> None:
        self._target = target
        self._wire = wire_of(target)
        self._connections = connections
        self._keep_alive = keep_alive
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            connector=self._connector(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            headers={**self._wire.headers, "Content-Type": "application/json"},
        )
        self._session = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _connector(self) -> aiohttp.BaseConnector:
        limit, force_close = self._connections, not self._keep_alive
        remote = self._target.remote
        if remote is None:
            return aiohttp.UnixConnector(self._target.socket, limit=limit, force_close=force_close)
        return http.connector(allow_private=remote.allow_private, limit=limit, force_close=force_close)

    async def ask(self, path: str, body: Mapping[str, Any], *, seconds: float) -> Answer:
        """POST to `chat/completions`, `completions` or `embeddings`; whatever goes wrong is in the answer."""
        answer = Answer()
        started = perf_counter()
        try:
            async with asyncio.timeout(seconds):
                await self._exchange(path, body, answer, started)
        except NoaError as error:
            if answer.status == UNREACHABLE:  # it was not even sent
                answer.status = error.http_status
            answer.fail(error.message, error.code, error.param or "")
        except TimeoutError:
            answer.fail(f"There was no whole answer within {seconds:g} s.", "timeout")
        except (aiohttp.ClientError, OSError) as error:
            answer.fail(f"The model could not be reached: {error}", "unreachable")
        except ValueError:
            answer.fail("The answer is not what the protocol says.", "bad_answer")
        answer.duration_ms = _since(started)
        return answer

    async def _exchange(self, path: str, body: Mapping[str, Any], answer: Answer, started: float) -> None:
        url, sent = self._wire.request(path, body)
        async with self._session.post(url, data=orjson.dumps(sent), allow_redirects=False) as response:
            answer.status = response.status
            if response.status != 200:
                _read_error(await response.content.read(_MAX_ERROR_BYTES), answer)
            elif body.get("stream"):
                await self._read_events(response, answer, started)
            else:
                answer.body = self._wire.whole(_object(await http.read_whole(response, _MAX_ANSWER)))

    async def _read_events(self, response: aiohttp.ClientResponse, answer: Answer, started: float) -> None:
        translation, reader, size = self._wire.stream(), sse.EventReader(), 0
        async for piece in response.content.iter_any():
            now = _since(started)
            size += len(piece)
            if size > _MAX_ANSWER:
                raise http.TooLong
            for _, data in reader.feed(translation.feed(piece) if translation else piece):
                _take_event(data, now, answer)
        if translation:
            for _, data in reader.feed(translation.end()):
                _take_event(data, _since(started), answer)
        if not answer.done and not answer.error:
            answer.fail("The stream ended before it said that it was done.", "cut")


def _since(started: float) -> float:
    return (perf_counter() - started) * 1000


def _object(data: bytes) -> dict[str, Any]:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _take_event(data: bytes, now: float, answer: Answer) -> None:
    if data == b"[DONE]":
        answer.done = True
        return
    event = _object(data)
    if isinstance(event.get("error"), dict):
        _take_error(event["error"], answer)
    answer.events.append((now, event))


def _read_error(data: bytes, answer: Answer) -> None:
    answer.fail(f"The server answered with status {answer.status}.", "")
    try:
        found = _object(data).get("error")
    except ValueError:
        return
    if isinstance(found, dict):
        _take_error(found, answer)


def _take_error(found: Mapping[str, Any], answer: Answer) -> None:
    message = str(found.get("message") or answer.error or "The server sent an error.")
    code = str(found.get("code") or found.get("type") or "")
    answer.fail(message, code, str(found.get("param") or ""))
