"""Live updates of the dashboard: a server-sent event for each part that has changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from django.contrib import auth
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from models_app.admin.dashboard.board import EVERY_SECONDS, board, names_for
from models_app.domain.errors import Unavailable
from models_app.services.events import event_stream
from models_app.services.events.event_stream import hub
from models_app.services.events.hub_response import HubResponse, in_thread, wait_for_news


def live(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """GET /admin/live/: a stream while the page is open; 503 when too many are open."""
    owner = f"user:{request.user.pk}"
    try:
        hub.check_room(owner)
    except Unavailable as error:
        return HttpResponse(error.message, status=503, content_type="text/plain; charset=utf-8")
    engine, key = type(request.session), request.session.session_key

    def allowed() -> frozenset[str]:
        present = HttpRequest()
        present.session = engine(key)
        user: Any = auth.get_user(present)
        return names_for(user) if user.is_active and user.is_staff else frozenset()

    return LiveResponse(allowed, owner)


class LiveResponse(HubResponse):
    """Streams parts of the dashboard. `allowed` returns the names that the user can view; without any, it ends."""

    retry_ms = 3000

    def __init__(self, allowed: Callable[[], frozenset[str]], owner: str = "") -> None:
        super().__init__(owner)
        self._allowed = allowed

    async def follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        shown: dict[str, str] = {}
        check_at, names = loop.time(), frozenset[str]()
        while hub.is_open:
            news.clear()
            if loop.time() >= check_at:
                names = await in_thread(self._allowed)
                check_at = loop.time() + event_stream.RIGHTS_SECONDS
            if not names:
                return
            parts = await in_thread(lambda: board.parts(max_age=EVERY_SECONDS / 2))
            yield _frames(parts, names, shown)
            await wait_for_news(news, EVERY_SECONDS)


def _frames(parts: Mapping[str, str], names: frozenset[str], shown: dict[str, str]) -> bytes:
    """The changed parts, or a comment: writing it detects a browser that has disconnected."""
    changed = {name: html for name, html in parts.items() if name in names and shown.get(name) != html}
    shown |= changed
    frames = [
        b"event: part\ndata: %s\n\n" % json.dumps({"name": name, "html": html}).encode()
        for name, html in changed.items()
    ]
    return b"".join(frames) or b": nothing new\n\n"
