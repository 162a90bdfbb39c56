"""A bound on the requests that Django processes at once: each takes a thread, and most a database connection.

There are three lanes, so that one kind of request cannot keep the others out: log-ins, which cost much processor time;
other requests without an API key or session that is known to be valid; and all others. A request that finds no place
waits without a thread; beyond a bound, or for too long, it is answered with 503.
"""

from __future__ import annotations

import asyncio
import hashlib
import html
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import orjson

from models_app import clocks
from models_app.domain import request_context
from models_app.domain.errors import NoaError, Unavailable
from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.http import errors
from models_app.gateway.http.types import ASGIApp, Message, Receive, Scope, Send, prove

# How long a request waits for a place.
WAIT_SECONDS = 10.0
_RETRY_SECONDS = 5
# Sessions that are remembered as valid, and for how long without a request.
_MAX_SESSIONS = 1_000
_SESSION_SECONDS = 15 * 60.0
_BEARER = b"bearer "


@dataclass
class Lane:
    """Requests of one kind: `places` at once, others wait in order; `per_client` bounds those of one address."""

    places: int
    most_waiting: int
    per_client: int
    _taken: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _clients: Counter[str] = field(default_factory=Counter)

    async def enter(self, client: str) -> None:
        """Raises Unavailable when too many wait, or no place becomes free in time. Call `leave` once afterwards."""
        if self._taken < self.places and not self._waiting:
            self._taken += 1
            return
        if len(self._waiting) >= self.most_waiting or self._clients[client] >= self.per_client:
            raise _busy()
        self._clients[client] += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with clocks.timeout(WAIT_SECONDS):
                await turn
        except TimeoutError:
            self._abandon(turn)
            raise _busy() from None
        except asyncio.CancelledError:
            self._abandon(turn)
            raise
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def _abandon(self, turn: asyncio.Future[None]) -> None:
        """A place that was given at the same moment goes to the next one."""
        if turn.done() and not turn.cancelled():
            self.leave()
        else:
            with suppress(ValueError):
                self._waiting.remove(turn)

    def leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1


def _busy() -> Unavailable:
    return Unavailable(
        "Too many requests are waiting. Retry in a few seconds.", code="server_busy", retry_after=_RETRY_SECONDS
    )


class _Place(request_context.Place):
    def __init__(self, lane: Lane, recognize: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lane = lane
        self._recognize = recognize
        self._is_held = False

    async def take(self, client: str) -> None:
        await self._lane.enter(client)
        self._is_held = True

    def free(self) -> None:
        """In the event loop."""
        if self._is_held:
            self._is_held = False
            self._lane.leave()

    def leave(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.free)

    def recognize(self) -> None:
        self._recognize()


class Entrance:
    """ASGI wrapper of Django. A request takes its place when its body has arrived, and leaves it with its answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        places: int,
        log_in_path: str,
        session_cookie: str,
        keys: Callable[[], Mapping[str, KeyEntry]],
    ) -> None:
        """`places` are for requests with a valid key or session."""
        self._app = app
        self._keys = keys
        self._log_in_path = log_in_path
        self._cookie = session_cookie.encode() + b"="
        self._known = Lane(places, most_waiting=512, per_client=256)
        self._anonymous = Lane(2, most_waiting=128, per_client=64)
        self._log_ins = Lane(2, most_waiting=16, per_client=16)
        # Digest of the cookie: when the session was last used.
        self._sessions: OrderedDict[bytes, float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope["client"][0] if scope.get("client") else ""
        session = self._session_of(scope)
        place = _Place(self._lane_of(scope, session), lambda: self._recognize(scope, session))
        token = request_context.place.set(place)
        started = False

        async def entering() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not started:
                await place.take(client)
            return message

        async def leaving(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                place.free()
            await send(message)

        try:
            await self._app(scope, entering, leaving)
        except NoaError as error:
            if started:
                raise
            await _answer(scope, send, error)
        finally:
            request_context.place.reset(token)
            place.free()

    def _lane_of(self, scope: Scope, session: bytes | None) -> Lane:
        if scope["path"] == self._log_in_path and scope["method"] == "POST":
            return self._log_ins
        if session is not None and self._sessions.get(session, 0.0) > monotonic() - _SESSION_SECONDS:
            return self._known
        return self._known if self._has_key(scope) else self._anonymous

    def _has_key(self, scope: Scope) -> bool:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if header[: len(_BEARER)].lower() != _BEARER or len(header) > 512:
            return False
        return hash_api_key(header[len(_BEARER) :].strip().decode("latin-1")) in self._keys()

    def _session_of(self, scope: Scope) -> bytes | None:
        for name, value in scope["headers"]:
            if name == b"cookie":
                for part in value.split(b";"):
                    if part.strip().startswith(self._cookie):
                        return hashlib.sha256(part.strip()).digest()
        return None

    def _recognize(self, scope: Scope, session: bytes | None) -> None:
        """The session or the key of the request is valid."""
        prove(scope)
        self._remember(session)

    def _remember(self, session: bytes | None) -> None:
        """From a thread of Django; each step is atomic."""
        if session is not None:
            self._sessions[session] = monotonic()
            self._sessions.move_to_end(session)
            while len(self._sessions) > _MAX_SESSIONS:
                with suppress(KeyError):
                    self._sessions.popitem(last=False)


async def _answer(scope: Scope, send: Send, error: NoaError) -> None:
    """JSON; for a browser in the console a page, made without Django's templates."""
    accepts_pages = any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
    if not (accepts_pages and scope["path"].startswith("/admin/")):
        kind, body = b"application/json", orjson.dumps(error.body())
    else:
        kind = b"text/html; charset=utf-8"
        body = f"<!DOCTYPE html><title>NOA</title><h1>Not available</h1><p>{html.escape(error.message)}</p>".encode()
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *errors.headers(error)[1:]]
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
