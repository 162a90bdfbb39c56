"""Few requests are in Django at once, and no kind of request keeps the others out."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from models_app.domain import request_context
from models_app.domain.traffic.routing import KeyEntry, hash_api_key
from models_app.gateway.edge import entrance
from models_app.gateway.edge.entrance import Entrance

KEY = "noa_a_secret"
COOKIE = b"sessionid=abc"


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **fields: Any) -> None:
        asyncio.run(test(*args, **fields))

    return run


class Application:
    """Stands for Django: reads the body, then answers when `may_answer` is set."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.may_answer = asyncio.Event()
        self.leaves = False
        self.recognizes = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            if self.leaves:
                await asyncio.to_thread(request_context.place.get().leave)
            if self.recognizes:
                request_context.place.get().recognize()
            await self.may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.inside -= 1


class Site:
    def __init__(self, places: int = 4) -> None:
        self.application = Application()
        self.entrance = Entrance(
            self.application,
            places=places,
            log_in_path="/admin/login/",
            session_cookie="sessionid",
            keys=lambda: {hash_api_key(KEY): KeyEntry("a", frozenset(), None)},
        )

    async def ask(
        self, path: str = "/api/v1/models", *, method: str = "GET", client: str = "10.0.0.1", **headers: bytes
    ) -> tuple[int, bytes, dict[bytes, bytes]]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        fields = [(name.encode(), value) for name, value in headers.items()]
        scope = {"type": "http", "path": path, "method": method, "client": (client, 1), "headers": fields}
        await self.entrance(scope, receive, send)
        return sent[0]["status"], sent[1]["body"], dict(sent[0]["headers"])

    def start(self, count: int, **fields: Any) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.ask(**fields)) for _ in range(count)]

    @property
    def taken(self) -> int:
        return sum(lane._taken for lane in (self.entrance._known, self.entrance._anonymous, self.entrance._log_ins))


WITH_KEY = {"authorization": f"Bearer {KEY}".encode()}


async def settle(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({}, 2),
        ({"authorization": b"Bearer noa_wrong_key"}, 2),
        ({"cookie": COOKIE}, 2),
        ({"path": "/admin/login/", "method": "POST"}, 2),
        (WITH_KEY, 4),
    ],
)
@in_a_loop
async def test_each_kind_of_request_has_its_places(fields: dict[str, Any], places: int) -> None:
    site = Site()
    asked = site.start(12, **fields)
    await settle(lambda: site.application.inside == places)
    site.application.may_answer.set()
    assert {status for status, _, _ in await asyncio.gather(*asked)} == {200}
    assert site.application.most == places
    assert site.taken == 0


@in_a_loop
async def test_requests_with_a_key_pass_while_anonymous_ones_and_log_ins_fill_their_places() -> None:
    site = Site()
    asked = site.start(60) + site.start(12, path="/admin/login/", method="POST")
    await settle(lambda: site.application.inside == 4)
    keyed = site.start(1, **WITH_KEY)
    await settle(lambda: site.application.inside == 5)
    site.application.may_answer.set()
    await asyncio.gather(*asked, *keyed)


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v1/models", b"application/json"), ("/admin/", b"text/html; charset=utf-8")]
)
@in_a_loop
async def test_beyond_the_bounds_a_request_is_answered_at_once(path: str, kind: bytes) -> None:
    site = Site()
    asked = [task for client in "abc" for task in site.start(64, client=client)]
    await settle(lambda: len(site.entrance._anonymous._waiting) == 128)
    status, body, headers = await site.ask(path, accept=b"text/html,*/*")
    assert (status, headers[b"retry-after"], headers[b"content-type"]) == (503, b"5", kind)
    assert b"Too many requests" in body
    site.application.may_answer.set()
    await asyncio.gather(*asked)
    assert site.taken == 0


@in_a_loop
async def test_one_address_has_a_share_of_the_waiting_requests() -> None:
    site = Site()
    asked = site.start(70)
    await settle(lambda: sum(task.done() for task in asked) == 4)
    other = site.start(1, client="10.0.0.2")
    site.application.may_answer.set()
    assert sorted({status for status, _, _ in await asyncio.gather(*asked, *other)}) == [200, 503]
    assert (await other[0])[0] == 200


@in_a_loop
async def test_a_request_that_finds_no_place_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "WAIT_SECONDS", 0.01)
    site = Site()
    asked = site.start(3)
    await settle(lambda: any(task.done() for task in asked))
    site.application.may_answer.set()
    assert sorted(status for status, _, _ in await asyncio.gather(*asked)) == [200, 200, 503]
    assert site.taken == 0


@in_a_loop
async def test_a_request_that_waits_for_a_job_gives_its_place_to_others() -> None:
    site = Site(places=2)
    site.application.leaves = True
    asked = site.start(30, **WITH_KEY)
    await settle(lambda: site.application.inside == 30)
    site.application.may_answer.set()
    await asyncio.gather(*asked)
    assert site.taken == 0


@in_a_loop
async def test_a_session_is_known_once_its_user_was_recognized() -> None:
    site = Site()
    site.application.may_answer.set()
    site.application.recognizes = True
    await site.ask(cookie=b"x=y; " + COOKIE)
    site.application.may_answer.clear()
    asked = site.start(10, cookie=COOKIE)
    await settle(lambda: site.application.inside == 4)
    site.application.may_answer.set()
    await asyncio.gather(*asked)


@in_a_loop
async def test_remembered_sessions_are_bounded() -> None:
    site = Site()
    for number in range(entrance._MAX_SESSIONS + 100):
        site.entrance._remember(str(number).encode())
    assert len(site.entrance._sessions) == entrance._MAX_SESSIONS


@in_a_loop
async def test_a_body_that_arrives_slowly_takes_no_place() -> None:
    site = Site()
    arriving: asyncio.Queue[Any] = asyncio.Queue()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/api/v1/x", "method": "POST", "client": ("10.0.0.1", 1), "headers": []}
    slow = asyncio.create_task(site.entrance(scope, arriving.get, send))
    await arriving.put({"type": "http.request", "body": b"a", "more_body": True})
    await settle(arriving.empty)
    assert site.taken == 0
    site.application.may_answer.set()
    await arriving.put({"type": "http.request", "body": b"b", "more_body": False})
    await slow
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("seed", range(5))
@in_a_loop
async def test_cancelled_requests_leave_no_place_behind(seed: int) -> None:
    site, chance = Site(), random.Random(seed)
    asked = site.start(40) + site.start(40, **WITH_KEY)
    for task in chance.sample(asked, 50):
        task.cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    site.application.may_answer.set()
    await asyncio.gather(*asked, return_exceptions=True)
    assert site.taken == 0
    assert (await site.ask())[0] == 200
