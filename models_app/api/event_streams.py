"""Events as they happen, over HTTP: server-sent events from the hub of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.db import DatabaseError, close_old_connections, connection
from django.http import HttpRequest, StreamingHttpResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from models_app.api.authentication import KeyPrincipal, scopes_of
from models_app.domain.errors import Unavailable
from models_app.domain.scopes import Scope, allows
from models_app.services.api_keys import keys
from models_app.services.events import event_stream
from models_app.services.events.event_stream import StreamedEvent, hub
from models_app.services.events.events import EventFilter

Found = TypeVar("Found")

# Proxies end connections that are silent for a minute or less; a client that has gone is seen by then, and so is a key
# that was revoked.
HEARTBEAT_SECONDS = 15.0
_HEARTBEAT = b": still here\n\n"
# How long a client waits before it connects again: long enough for a server to restart twice in it at worst.
_RETRY = b"retry: 2000\n\n"


class EventStreamRenderer(BaseRenderer):
    """Lets content negotiation know that a view can stream; the view itself answers with the stream."""

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None


class EventStreamResponse(StreamingHttpResponse):
    """The events that follow `place` and that the filter wants, until the client leaves or the server stops.

    Django closes this response's own iterator when the client has gone, so what it holds is given back at once. It holds
    no database connection: not even the one that the view has used.
    """

    is_async = True

    def __init__(self, *, wanted: EventFilter, place: int, still_allowed: Callable[[], bool]) -> None:
        super().__init__(content_type=EventStreamRenderer.media_type)
        self["Cache-Control"] = "no-store"
        # nginx would keep the events until it has a page full of them.
        self["X-Accel-Buffering"] = "no"
        self._wanted = wanted
        self._place = place
        self._still_allowed = still_allowed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(news.set)

        await sync_to_async(close_old_connections)()
        yield _RETRY
        try:
            hub.join(wake)
        except Unavailable:
            return  # the places were taken meanwhile: the client comes again
        try:
            async with aclosing(self._follow(news)) as following:
                async for frames in following:
                    yield frames
        except DatabaseError:
            return  # the client comes again, and goes on where it was
        finally:
            hub.leave(wake)

    async def _follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        next_beat = loop.time() + HEARTBEAT_SECONDS
        while hub.is_open:
            news.clear()
            found = hub.after(self._place)
            if found is None:
                found = await _aside(self._read)
            if frames := self._take(found):
                yield frames
            if loop.time() >= next_beat:
                if not await _aside(self._still_allowed):
                    return
                yield _HEARTBEAT
                next_beat = loop.time() + HEARTBEAT_SECONDS
            if not found:
                await _first(news, next_beat - loop.time())

    def _read(self) -> list[StreamedEvent]:
        return event_stream.read(after=self._place)

    def _take(self, found: list[StreamedEvent]) -> bytes:
        if found:
            self._place = found[-1].id
        return b"".join(item.frame for item in found if self._wanted.wants(item.event))


async def _first(news: asyncio.Event, seconds: float) -> None:
    """Until there is news or the time is over."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await news.wait()
    except TimeoutError:
        return


async def _aside(look: Callable[[], Found]) -> Found:
    """On a thread that others use next: it gives its connection back."""

    def work() -> Found:
        try:
            return look()
        finally:
            connection.close()

    return await asyncio.to_thread(work)


def permit_of(request: Request) -> Callable[[], bool]:
    """Whether whoever asks may still read, asked again later: keys are revoked, sessions end."""
    user: Any = request.user
    if isinstance(user, KeyPrincipal):
        key_pk = request.auth.pk

        def look() -> bool:
            key = keys.usable(pk=key_pk)
            return key is not None and allows(frozenset(key.scopes), Scope.READ)

        return look
    session = request.session
    engine, session_key = type(session), session.session_key

    def look_again() -> bool:
        again = HttpRequest()
        again.session = engine(session_key)
        return allows(scopes_of(auth.get_user(again)), Scope.READ)

    return look_again
