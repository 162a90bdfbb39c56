"""Live updates of the overview: one stream, rendered once for all viewers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from models_app.admin.dashboard import board as boards
from models_app.admin.dashboard.sections import SECTIONS
from models_app.admin.dashboard.stream import LiveResponse
from models_app.models import Event, RegisteredModel
from models_app.services.events.event_stream import hub
from models_app.services.reporting import overview
from tests.admin.conftest import make_job

ALL = frozenset(SECTIONS)


@pytest.fixture
def open_hub(db: None) -> Iterator[None]:
    hub._is_open = True  # without its thread: these streams wake up by their own timeout
    yield
    hub._is_open = False


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often the facts were read."""
    reads: list[int] = []
    read = overview.facts

    def facts() -> overview.Facts:
        reads.append(1)
        return read()

    monkeypatch.setattr(overview, "facts", facts)
    monkeypatch.setattr(boards.board, "_made_at", float("-inf"))
    return reads


def frames_of(response: LiveResponse) -> AsyncGenerator[bytes, None]:
    return cast("AsyncGenerator[bytes, None]", aiter(response))


async def parts_of(frames: AsyncIterator[bytes]) -> dict[str, str]:
    """The parts in the next frames."""
    found: dict[str, str] = {}
    while not found:
        for line in (await anext(frames)).decode().splitlines():
            if line.startswith("data: "):
                part = json.loads(line[6:])
                found[part["name"]] = part["html"]
    return found


def first_parts(allowed: frozenset[str]) -> dict[str, str]:
    async def read() -> dict[str, str]:
        async for frames in LiveResponse(lambda: allowed):
            if b"data: " in frames:
                return await parts_of(_again(frames))
        return {}

    return asyncio.run(read())


async def _again(frames: bytes) -> AsyncIterator[bytes]:
    yield frames


@pytest.mark.django_db(transaction=True)
def test_a_stream_begins_with_everything_that_may_be_seen(open_hub: None, furnished: RegisteredModel) -> None:
    assert set(first_parts(ALL)) == set(ALL)
    assert set(first_parts(frozenset({"events"}))) == {"events"}
    assert "It was loaded." in first_parts(ALL)["events"]


@pytest.mark.django_db(transaction=True)
def test_a_stream_of_somebody_without_rights_ends(open_hub: None) -> None:
    assert first_parts(frozenset()) == {}


@pytest.mark.django_db(transaction=True)
def test_twenty_who_look_cost_as_much_as_one(open_hub: None, counted: list[int], furnished: RegisteredModel) -> None:
    async def look() -> None:
        streams = [frames_of(LiveResponse(lambda: ALL)) for _ in range(20)]
        shown = await asyncio.gather(*(parts_of(stream) for stream in streams))
        assert all(set(parts) == set(shown[0]) for parts in shown)
        assert hub.stream_count == 20
        for stream in streams:
            await stream.aclose()

    asyncio.run(look())
    assert len(counted) == 1
    assert hub.stream_count == 0


@pytest.mark.django_db(transaction=True)
def test_only_what_changed_is_sent_again(
    open_hub: None, furnished: RegisteredModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models_app.admin.dashboard.stream.EVERY_SECONDS", 0.05)

    async def look() -> dict[str, str]:
        stream = frames_of(LiveResponse(lambda: ALL))
        await parts_of(stream)
        await asyncio.to_thread(make_job, subject="llama.cpp:other", state="running")
        changed = await parts_of(stream)
        await stream.aclose()
        return changed

    changed = asyncio.run(look())
    assert set(changed) == {"running"}
    assert "Load llama.cpp:other" in changed["running"]


def test_the_page_is_told_when_no_stream_can_be_opened(console: Client) -> None:
    answer = console.get(reverse("console:live"))
    assert answer.status_code == 503
    assert "The server is stopping" in answer.content.decode()


def test_the_stream_is_not_kept_by_proxies(console: Client, open_hub: None) -> None:
    answer: Any = console.get(reverse("console:live"))
    assert answer["Content-Type"] == "text/event-stream"
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Accel-Buffering"] == "no"


@pytest.mark.parametrize("right", [None, "view_event"])
def test_a_right_that_is_taken_away_ends_what_is_seen(
    staff: Callable[..., Client], right: str | None, open_hub: None
) -> None:
    client = staff(*([right] if right else []))
    answer: Any = client.get(reverse("console:live"))
    assert answer._allowed() == (frozenset({"events"}) if right else frozenset())
    client.logout()
    assert answer._allowed() == frozenset()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["is_active", "is_staff", "permissions"])
def test_a_stream_ends_soon_after_the_right_of_its_user(staff: Callable[..., Client], open_hub: None, how: str) -> None:
    """Documented: within 5 seconds."""
    answer: Any = staff("view_event").get(reverse("console:live"))

    def take_away() -> None:
        if how == "permissions":
            User.objects.get().user_permissions.clear()
        else:
            User.objects.update(**{how: False})
        connection.close()

    async def look() -> float:
        stream = frames_of(answer)
        await parts_of(stream)
        await asyncio.to_thread(take_away)
        began = asyncio.get_running_loop().time()
        async for _ in stream:
            pass
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(look()) < 5.0


def test_events_on_the_page_lead_to_their_page(console: Client, furnished: RegisteredModel) -> None:
    event = Event.objects.get(name="model-loaded")
    page = console.get(reverse("admin:index")).content.decode()
    assert reverse("admin:models_app_event_change", args=[event.pk]) in page
