"""Sends requests to one model and times the answers. For probes and profiles, not for the gateway's traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from models_app import clocks
from models_app.domain.catalog.pricing import Usage
from models_app.domain.errors import NoaError
from models_app.domain.traffic.claims import Claim, claim_of
from models_app.domain.traffic.routing import Target
from models_app.providers.outbound import wire_of
from models_app.providers.wire import chat_answers, http, sse

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

# How much of a server's error message is kept.
_MAX_ERROR = 500
_CONNECT_SECONDS = 10.0

UNREACHABLE = 0
"""The status of an answer that did not arrive."""


@dataclass(slots=True)
class Answer:
    """One answer. Times are milliseconds since the request was sent.

    status  of HTTP, or UNREACHABLE
    body    the decoded JSON object of a whole answer; empty for a stream
    events  of a stream: the arrival time of each event, and its decoded JSON object
    done    whether a stream ended with `[DONE]`
    error   a sentence; empty when the request was answered whole
    code    the error's code, from the server
    param   the parameter that the server refuses
    sent_at when the request went to its connection, by `perf_counter`
    """

    status: int = UNREACHABLE
    body: Mapping[str, Any] = field(default_factory=dict)
    events: list[tuple[float, Mapping[str, Any]]] = field(default_factory=list)
    done: bool = False
    error: str = ""
    code: str = ""
    param: str = ""
    duration_ms: float = 0.0
    sent_at: float = field(default_factory=perf_counter)

    @property
    def refused(self) -> bool:
        """Whether the server rejects this kind of request; False when it is busy or refuses the API key."""
        return self.status in (400, 404, 405, 415, 422, 501)

    @property
    def usage(self) -> Mapping[str, Any]:
        """The token counts; empty when the server sent none."""
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


@dataclass(frozen=True, slots=True)
class Sent:
    """One request that was sent: its start in Unix seconds, and what it can have used (`claim`)."""

    path: str
    stream: bool
    started_at: float
    claim: Claim
    status: int
    code: str
    duration_ms: float
    usage: Usage


class Asker:
    """A client of one loaded model: `async with Asker(target, connections=…) as ask`. Each request is added to `sent`.

    Raises InvalidRequest for an address that is not allowed.

    With `keep_alive` connections are reused, as in the gateway; a request can then fail because the server is closing
    its connection, which is an answer with status UNREACHABLE.
    """

    def __init__(
        self, target: Target, *, connections: int = 1, keep_alive: bool = False, sent: list[Sent] | None = None
    ) -> None:
        self._target = target
        self._sent = [] if sent is None else sent
        self._wire = wire_of(target)
        self._connections = connections
        self._keep_alive = keep_alive
        self._openai: AsyncOpenAI

    async def __aenter__(self) -> Self:
        from models_app.providers.wire import official

        session = aiohttp.ClientSession(
            connector=self._connector(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            headers=dict(self._wire.headers),
        )
        self._openai = official.client(session, self._wire.base_url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    def _connector(self) -> aiohttp.BaseConnector:
        limit, force_close = self._connections, not self._keep_alive
        remote = self._target.remote
        if remote is None:
            return aiohttp.UnixConnector(self._target.socket, limit=limit, force_close=force_close)
        return http.connector(allow_private=remote.allow_private, limit=limit, force_close=force_close)

    async def ask(self, path: str, body: Mapping[str, Any], *, seconds: float) -> Answer:
        """POST to `chat/completions`, `completions` or `embeddings`; every failure is in the answer, none is raised."""
        from models_app.providers.wire import official

        answer, started_at = Answer(), time()
        try:
            async with clocks.timeout(seconds):
                await self._exchange(path, body, answer)
        except asyncio.CancelledError:
            answer.fail("It was cancelled.", "cancelled")
            self._note(path, body, started_at, answer)
            raise
        except NoaError as error:
            if answer.status == UNREACHABLE:  # the request was not sent
                answer.status = error.http_status
            answer.fail(error.message, error.code, error.param or "")
        except official.STATUS_ERROR as error:
            answer.status, answer.sent_at = error.status_code, official.sent_at(error.response)
            _read_error(error.response.content, answer)
        except (*official.TIMEOUT_ERRORS, TimeoutError):
            answer.fail(f"There was no whole answer within {seconds:g} s.", "timeout")
        except official.CONNECTION_ERRORS as error:
            answer.fail(f"The model could not be reached: {official.cause_of(error)}", "unreachable")
        except ValueError:
            answer.fail("The answer does not conform to the protocol.", "bad_answer")
        answer.duration_ms = _since(answer.sent_at)
        self._note(path, body, started_at, answer)
        return answer

    def _note(self, path: str, body: Mapping[str, Any], started_at: float, answer: Answer) -> None:
        # Of a local model nothing is charged.
        if self._target.remote is None:
            return
        claim = claim_of(path, body, orjson.dumps(body))
        status, usage = answer.status, chat_answers.counted(answer.usage)
        took = answer.duration_ms or _since(answer.sent_at)
        stream = bool(body.get("stream"))
        self._sent.append(Sent(path, stream, started_at, claim, status, answer.code, took, usage))

    async def _exchange(self, path: str, body: Mapping[str, Any], answer: Answer) -> None:
        from models_app.providers.wire import official

        url, sent = self._wire.request(path, body)
        response = await official.post_streamed(self._openai, url, sent)
        try:
            answer.status, answer.sent_at = response.status_code, official.sent_at(response)
            if response.status_code != 200:
                _read_error(await response.aread(), answer)
            elif body.get("stream"):
                await self._read_events(response, answer)
            else:
                answer.body = self._wire.whole(_object(await response.aread()))
        finally:
            await response.aclose()

    async def _read_events(self, response: httpx2.Response, answer: Answer) -> None:
        """Reads raw bytes, not the client's typed chunks: with 16 streams a chunk takes 110 µs of a core, raw bytes 25,
        as with aiohttp alone. Parsing must not delay the times of other streams, and translations need bytes anyway."""
        translation, reader = self._wire.stream(), sse.EventReader()
        async for piece in response.aiter_raw():
            now = _since(answer.sent_at)
            for _, data in reader.feed(translation.feed(piece) if translation else piece):
                _add_event(data, now, answer)
        if translation:
            for _, data in reader.feed(translation.end()):
                _add_event(data, _since(answer.sent_at), answer)
        if not answer.done and not answer.error:
            answer.fail("The stream ended without '[DONE]'.", "cut")


def _since(started: float) -> float:
    return (perf_counter() - started) * 1000


def _object(data: bytes) -> dict[str, Any]:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _add_event(data: bytes, now: float, answer: Answer) -> None:
    if data == b"[DONE]":
        answer.done = True
        return
    event = _object(data)
    if isinstance(event.get("error"), dict):
        _set_error(event["error"], answer)
    answer.events.append((now, event))


def _read_error(data: bytes, answer: Answer) -> None:
    answer.fail(f"The server answered with status {answer.status}.", "")
    try:
        found = _object(data).get("error")
    except ValueError:
        return
    if isinstance(found, dict):
        _set_error(found, answer)


def _set_error(found: Mapping[str, Any], answer: Answer) -> None:
    message = str(found.get("message") or answer.error or "The server sent an error.")
    code = str(found.get("code") or found.get("type") or "")
    answer.fail(message, code, str(found.get("param") or ""))
