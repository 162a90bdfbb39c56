"""The event stream over HTTP: server-sent events from the hub of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from django.contrib import auth
from django.http import HttpRequest
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from models_app.api.authentication import KeyPrincipal, scopes_of
from models_app.domain.scopes import Scope, allows
from models_app.services.api_keys import keys
from models_app.services.events import event_stream
from models_app.services.events.event_stream import StreamedEvent, hub
from models_app.services.events.events import EventFilter
from models_app.services.events.hub_response import HubResponse, in_thread, wait_for_news

# Proxies close connections after about a minute without data. A heartbeat also detects a client that has disconnected
# and a key that was revoked.
HEARTBEAT_SECONDS = 15.0
_HEARTBEAT = b": still here\n\n"


class EventStreamRenderer(BaseRenderer):
    """Makes content negotiation accept `text/event-stream`; the view itself returns the stream."""

    media_type = "text/event-stream"
    format = "event-stream"
    charset = None


class EventStreamResponse(HubResponse):
    """The events after the id `place` that match the filter."""

    # Until a client reconnects: about the time of a restart.
    retry_ms = 2000

    def __init__(self, *, wanted: EventFilter, place: int, still_allowed: Callable[[], bool]) -> None:
        super().__init__()
        self["Cache-Control"] = "no-store"
        self._wanted = wanted
        self._place = place
        self._still_allowed = still_allowed

    async def follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time() + HEARTBEAT_SECONDS
        while hub.is_open:
            news.clear()
            found = hub.after(self._place)
            if found is None:
                found = await in_thread(self._read)
            if frames := self._take(found):
                yield frames
            if loop.time() >= next_heartbeat:
                if not await in_thread(self._still_allowed):
                    return
                yield _HEARTBEAT
                next_heartbeat = loop.time() + HEARTBEAT_SECONDS
            if not found:
                await wait_for_news(news, next_heartbeat - loop.time())

    def _read(self) -> list[StreamedEvent]:
        return event_stream.read(after=self._place)

    def _take(self, found: list[StreamedEvent]) -> bytes:
        if found:
            self._place = found[-1].id
        return b"".join(item.frame for item in found if self._wanted.matches(item.event))


def permit_of(request: Request) -> Callable[[], bool]:
    """Returns a check that the caller still has `read`: keys are revoked and sessions end during a stream."""
    user: Any = request.user
    if isinstance(user, KeyPrincipal):
        key_pk = request.auth.pk

        def key_permits() -> bool:
            key = keys.usable(pk=key_pk)
            return key is not None and allows(frozenset(key.scopes), Scope.READ)

        return key_permits
    session = request.session
    engine, session_key = type(session), session.session_key

    def session_permits() -> bool:
        request = HttpRequest()
        request.session = engine(session_key)
        return allows(scopes_of(auth.get_user(request)), Scope.READ)

    return session_permits
