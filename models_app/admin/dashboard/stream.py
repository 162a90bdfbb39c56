"""The first page as it changes: server-sent events, one for each part that is not what it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.db import DatabaseError, close_old_connections, connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from models_app.admin.dashboard.board import EVERY_SECONDS, board, names_for
from models_app.domain.errors import Unavailable
from models_app.services.events.event_stream import hub

Found = TypeVar("Found")

# Also how soon somebody who was signed out, or lost a right, sees no more.
_LOOK_AGAIN_SECONDS = 15.0
# How long a browser waits before it connects again.
_RETRY = b"retry: 3000\n\n"


def live(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """GET /admin/live/: a stream while the page is looked at; 503 when too many are open."""
    try:
        hub.check_room()
    except Unavailable as error:
        return HttpResponse(error.message, status=503, content_type="text/plain; charset=utf-8")
    engine, key = type(request.session), request.session.session_key

    def look() -> frozenset[str]:
        again = HttpRequest()
        again.session = engine(key)
        user: Any = auth.get_user(again)
        return names_for(user) if user.is_active and user.is_staff else frozenset()

    return LiveResponse(look)


class LiveResponse(StreamingHttpResponse):
    """Ends when the client leaves, the server stops or nothing may be seen any more. Holds no database connection."""

    is_async = True

    def __init__(self, allowed: Callable[[], frozenset[str]]) -> None:
        super().__init__(content_type="text/event-stream")
        # nginx would keep the events until it has a page full of them.
        self["X-Accel-Buffering"] = "no"
        self._allowed = allowed

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
            return
        try:
            async for frames in self._follow(news):
                yield frames
        except DatabaseError:
            return  # the browser comes again
        finally:
            hub.leave(wake)

    async def _follow(self, news: asyncio.Event) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        shown: dict[str, str] = {}
        look_at, names = loop.time(), frozenset[str]()
        while hub.is_open:
            news.clear()
            if loop.time() >= look_at:
                names = await _aside(self._allowed)
                look_at = loop.time() + _LOOK_AGAIN_SECONDS
            if not names:
                return
            parts = await _aside(lambda: board.parts(max_age=EVERY_SECONDS / 2))
            yield _frames(parts, names, shown)
            await _first(news, EVERY_SECONDS)


def _frames(parts: Mapping[str, str], names: frozenset[str], shown: dict[str, str]) -> bytes:
    """What differs from what was shown; at least a comment, by which a browser that has gone is noticed."""
    changed = {name: html for name, html in parts.items() if name in names and shown.get(name) != html}
    shown |= changed
    frames = [
        b"event: part\ndata: %s\n\n" % json.dumps({"name": name, "html": html}).encode()
        for name, html in changed.items()
    ]
    return b"".join(frames) or b": nothing new\n\n"


async def _first(news: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()


async def _aside(look: Callable[[], Found]) -> Found:
    """On a thread that others use next: it gives its connection back."""

    def work() -> Found:
        try:
            return look()
        finally:
            connection.close()

    return await asyncio.to_thread(work)
