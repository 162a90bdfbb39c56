"""A response of server-sent events that follows the event hub of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import ClassVar, TypeVar

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections, connection
from django.http import StreamingHttpResponse

from models_app import clocks
from models_app.domain.errors import Unavailable
from models_app.services.events.event_stream import hub

Result = TypeVar("Result")


class HubResponse(StreamingHttpResponse):
    """Frames until the client disconnects, the server stops or `follow` returns. Subclasses define `follow`.

    Django closes this response's own iterator when the client has disconnected, so its resources are released at once.
    It holds no database connection: not even the one that the view has used.
    """

    is_async = True
    # How long a client waits before it reconnects, in milliseconds.
    retry_ms: ClassVar[int]

    def __init__(self, owner: str) -> None:
        """`owner` is the key or user whose share of streams this one takes."""
        super().__init__(content_type="text/event-stream")
        self._owner = owner
        # nginx would buffer the events until a memory page is full.
        self["X-Accel-Buffering"] = "no"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: no task waits there any more
                loop.call_soon_threadsafe(news.set)

        await sync_to_async(close_old_connections)()
        yield b"retry: %d\n\n" % self.retry_ms
        try:
            hub.join(wake, self._owner)
        except Unavailable:
            return  # the limit was reached meanwhile: the client reconnects
        try:
            async with aclosing(self.follow(news)) as frames:
                async for frame in frames:
                    yield frame
        except DatabaseError:
            return  # the client reconnects, and resumes
        finally:
            hub.leave(wake)

    def follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        """The frames, while the hub is open.

        `news` is set whenever there can be new events; clear it before reading.
        """
        raise NotImplementedError


async def wait_for_news(news: asyncio.Event, seconds: float) -> None:
    """Wait until `news` is set, at most `seconds`."""
    with suppress(TimeoutError):
        async with clocks.timeout(max(0.0, seconds)):
            await news.wait()


async def in_thread(work: Callable[[], Result]) -> Result:
    """Runs `work` in a pooled thread, and closes the database connection that it opened there."""

    def run() -> Result:
        try:
            return work()
        finally:
            connection.close()

    return await asyncio.to_thread(run)
