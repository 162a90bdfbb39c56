"""The event stream over HTTP: server-sent events from the hub of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from django.contrib import auth
from django.http import HttpRequest
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from models_app.api.authentication import KeyPrincipal, client_of
from models_app.api.permissions import may
from models_app.domain.errors import PermissionDenied
from models_app.services.api_keys import keys
from models_app.services.events import event_stream
from models_app.services.events.event_stream import StreamedEvent, hub
from models_app.services.events.events import EventFilter
from models_app.services.events.hub_response import HubResponse, in_thread, wait_for_news

# Proxies close connections after about a minute without data. A heartbeat also detects a client that has disconnected.
HEARTBEAT_SECONDS = 15.0
_OPERATION = "list_events"
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

    def __init__(self, *, wanted: EventFilter, place: int, still_allowed: Callable[[], bool], owner: str) -> None:
        super().__init__(owner)
        self["Cache-Control"] = "no-store"
        self._wanted = wanted
        self._place = place
        self._still_allowed = still_allowed

    async def follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        next_heartbeat = loop.time() + HEARTBEAT_SECONDS
        next_check = loop.time() + event_stream.RIGHTS_SECONDS
        while hub.is_open:
            news.clear()
            found = hub.after(self._place)
            if found is None:
                found = await in_thread(self._read)
            if frames := self._take(found):
                yield frames
            if loop.time() >= next_check:
                if not await in_thread(self._still_allowed):
                    return
                next_check = loop.time() + event_stream.RIGHTS_SECONDS
            if loop.time() >= next_heartbeat:
                yield _HEARTBEAT
                next_heartbeat = loop.time() + HEARTBEAT_SECONDS
            if not found:
                await wait_for_news(news, min(next_heartbeat, next_check) - loop.time())

    def _read(self) -> list[StreamedEvent]:
        return event_stream.read(after=self._place)

    def _take(self, found: list[StreamedEvent]) -> bytes:
        if found:
            self._place = found[-1].id
        return b"".join(item.frame for item in found if self._wanted.matches(item.event))


def permit_of(request: Request) -> Callable[[], bool]:
    """Returns a check that the caller still has the right: keys are revoked and sessions end during a stream."""
    user: Any = request.user
    if isinstance(user, KeyPrincipal):
        key_pk, address = request.auth.pk, client_of(request)
        return lambda: _key_permits(key_pk, address)
    session = request.session
    engine, session_key = type(session), session.session_key

    def session_permits() -> bool:
        present = HttpRequest()
        present.session = engine(session_key)
        return may(auth.get_user(present), _OPERATION)

    return session_permits


def _key_permits(pk: int, address: str) -> bool:
    key = keys.usable(pk=pk)
    if key is None or not may(KeyPrincipal(key), _OPERATION):
        return False
    try:
        keys.require_address(key=key, address=address)
    except PermissionDenied:
        return False
    return True
