"""One HTTP request of the gateway, and the state of its answer."""

from __future__ import annotations

import asyncio
import contextlib

from models_app import clocks
from models_app.domain.errors import NoaError
from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic.routing import KeyEntry
from models_app.gateway.calls import answer_headers
from models_app.gateway.calls.meter import Meter
from models_app.gateway.calls.permits import Permit
from models_app.gateway.http import errors
from models_app.gateway.http.bodies import Body
from models_app.gateway.http.types import AnswerWhole, ErrorShape, Header, Receive, Send
from models_app.gateway.recording.texts import Captured

NO_KEY = KeyEntry("", frozenset(), None)
CLOSE: Header = (b"connection", b"close")

# How much of a refused body is read and discarded: a client that is still sending would otherwise get a reset in place
# of the answer.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 * 1024 * 1024


class Call:
    """The data of the request (`record`), and the progress of its answer (`started`, `finished`)."""

    __slots__ = (
        "_send",
        "answer_whole",
        "answered",
        "body",
        "body_read",
        "captured",
        "error_body",
        "error_event",
        "fallbacks",
        "finished",
        "headers",
        "is_events",
        "is_held_open",
        "is_marked",
        "key",
        "meter",
        "permit",
        "receive",
        "record",
        "started",
        "task",
        "wrote",
    )

    def __init__(self, receive: Receive, send: Send, record: AccessRecord, task: asyncio.Task[object]) -> None:
        """`task` answers the request: cancelling it ends the request in any phase."""
        self.task = task
        self.receive = receive
        self.record = record
        self.started = False
        self.finished = False
        # The client has its whole answer: it can disconnect before the transfer has ended.
        self.answered = False
        # Pings have been sent, and nothing of an answer: any answer can follow, but its status is no longer seen.
        self.is_held_open = False
        # Something was sent since this was last set to False.
        self.wrote = False
        # True while the body that is being sent is a stream of events, which can end with an error event.
        self.is_events = False
        self.body_read = False
        # Whether it has a mark in the access log, and so needs a record of its own.
        self.is_marked = False
        # What the body has taken of the process's bound for all bodies, until the end of the request.
        self.body: Body | None = None
        # The API key, once it is authenticated.
        self.key = NO_KEY
        # Models that were tried after the route's target.
        self.fallbacks = 0
        # Added to every answer to this request: the remaining limits of the key.
        self.headers: list[Header] = []
        # What the request uses; settled at its end, before the permit.
        self.meter = Meter()
        # Of the key's limits; settled at the end of the request.
        self.permit: Permit | None = None
        # Errors in the client's dialect, with a request id: as a body, and as the last event of a stream.
        self.error_body: ErrorShape = errors.body
        self.error_event: ErrorShape = errors.event
        # The extension `ANSWER_EXTENSION` of the server, if it has it.
        self.answer_whole: AnswerWhole | None = None
        # The texts of this request, if a rule has chosen it.
        self.captured: Captured | None = None
        self._send = send

    async def start(self, status: int, headers: list[Header]) -> None:
        """Sends status and headers, and the headers that every answer of the gateway has.

        After pings only a stream of events can begin, whose head is sent already.
        """
        if self.is_held_open:
            self.record.status = status
            self.is_held_open, self.started = False, True
            return
        self._begin(status, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        if self.captured is not None:
            self.captured.take(data)
        self.wrote = True
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def ping(self, event: bytes, headers: list[Header]) -> None:
        """Sends an event without content, and before the answer its head, with `headers` and status 200."""
        if not self.started and not self.is_held_open:
            status = self.record.status
            self._begin(200, headers)
            # The answer has neither yet.
            self.record.status, self.started = status, False
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self.is_held_open = self.is_events = True
        self.wrote = True
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        if self.captured is not None:
            self.captured.take(data)
        self.finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """A whole answer. The connection is closed after it if the request's body was not read.

        After pings it must be an error of OpenAI's dialect, which becomes an event.
        """
        if self.is_held_open:
            self.record.status = status
            await self.finish(b"data: " + body + b"\n\n")
            return
        headers.append((b"content-length", b"%d" % len(body)))
        if not self.body_read:
            headers.append(CLOSE)
            await self.start(status, headers)
            await self.write(body)
            await self._linger()
            await self.finish()
        elif self.answer_whole is not None:
            self._begin(status, headers)
            self.finished = True
            if self.captured is not None:
                self.captured.take(body)
            self.answer_whole(status, headers, body)
        else:
            await self.start(status, headers)
            await self.finish(body)

    def _begin(self, status: int, headers: list[Header]) -> None:
        record = self.record
        record.status = status
        headers.append((b"x-request-id", record.public_id.encode("ascii")))
        headers.append((b"x-noa-attempts", b"%d" % record.attempts))
        if record.model_key:
            headers.append((b"x-noa-model", answer_headers.value(record.model_key)))
        if record.endpoint:
            headers += answer_headers.for_clients(record, fallbacks=self.fallbacks, cost=self.meter.cost)
        if self.headers:
            headers += self.headers
        self.started = True

    async def fail(self, error: NoaError) -> None:
        """Sends an error as a body, or as the last event of a stream; any other started answer stays unfinished."""
        record = self.record
        record.error_code = error.code
        if self.is_held_open:
            record.status = error.http_status
            await self.finish(self.error_event(error, record.public_id))
            return
        if not self.started:
            await self.answer(error.http_status, errors.headers(error), self.error_body(error, record.public_id))
            return
        record.aborted = True
        if self.is_events and not self.finished:
            await self.finish(self.error_event(error, record.public_id))

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with clocks.timeout(_LINGER_SECONDS):
                while left > 0:
                    message = await self.receive()
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
                    left -= len(message["body"])
