"""The base of both streams: its first frame, and the release of its resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import pytest
from django.db import DatabaseError

from models_app.services.events.event_stream import hub
from models_app.services.events.hub_response import HubResponse

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def open_hub(db: None) -> Iterator[None]:
    hub._is_open = True  # without its thread
    yield
    hub._is_open = False


class Numbers(HubResponse):
    retry_ms = 1

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("user:1")
        self.error = error
        self.is_closed = False

    async def follow(self, news: asyncio.Event) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(3):
                yield b"%d" % number
            if self.error:
                raise self.error
        finally:
            self.is_closed = True


def read(response: HubResponse, frames: int) -> list[bytes]:
    """At most `frames` frames; then the iterator is closed, as Django does when the client disconnects."""

    async def work() -> list[bytes]:
        stream = cast(Any, response.__aiter__())
        found: list[bytes] = []
        async for frame in stream:
            found.append(frame)
            if len(found) == frames:
                break
        await stream.aclose()
        return found

    return asyncio.run(work())


def test_it_sends_the_time_to_reconnect_and_then_its_frames() -> None:
    response = Numbers()
    assert read(response, 10) == [b"retry: 1\n\n", b"0", b"1", b"2"]
    assert response["X-Accel-Buffering"] == "no"
    assert hub.stream_count == 0


def test_a_disconnected_client_closes_the_inner_iterator_at_once() -> None:
    response = Numbers()
    assert read(response, 2) == [b"retry: 1\n\n", b"0"]
    assert response.is_closed
    assert hub.stream_count == 0


def test_an_error_of_the_database_ends_it_in_order() -> None:
    response = Numbers(DatabaseError("gone"))
    assert len(read(response, 10)) == 4
    assert hub.stream_count == 0


def test_a_closed_hub_ends_it_after_the_first_frame() -> None:
    hub._is_open = False
    assert read(Numbers(), 10) == [b"retry: 1\n\n"]
