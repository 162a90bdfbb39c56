"""When a silent stream gets a ping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

from models_app.domain.records.access import AccessRecord
from models_app.gateway.calls.call import Call
from models_app.gateway.calls.keep_alive import KeepAlive
from models_app.gateway.http.types import Message

PING = b": ping\n\n"


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    return run


class Client:
    """Records what is sent; while it is `full`, a write waits."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.full = False
        self.watch = SimpleNamespace(on_tick=None)
        self.call = Call(
            cast(Any, None), self.send, AccessRecord("id", time.time(), ""), cast("asyncio.Task[object]", None)
        )

    async def send(self, message: Message) -> None:
        if self.full:
            await asyncio.get_running_loop().create_future()
        self.sent.append(message.get("body", message.get("status")))

    def alive(self, seconds: float = 10.0) -> KeepAlive:
        return KeepAlive(self.call, cast(Any, self.watch), PING, seconds)


@in_loop
async def test_a_ping_follows_each_silence() -> None:
    client = Client()
    with client.alive():
        for now in (100.0, 109.9):
            client.watch.on_tick(now)
        assert client.sent == []
        client.watch.on_tick(110.0)
        assert client.sent == [200, PING]
        client.watch.on_tick(110.1)
        client.watch.on_tick(119.0)
        await client.call.start(200, [])
        await client.call.write(b"data")
        client.watch.on_tick(121.0)
        client.watch.on_tick(130.9)
        assert client.sent == [200, PING, b"data"]
        client.watch.on_tick(131.0)
        assert client.sent == [200, PING, b"data", PING]
        await client.call.finish()
        client.watch.on_tick(150.0)
        assert client.sent == [200, PING, b"data", PING, b""]
    assert client.watch.on_tick is None


@in_loop
async def test_a_ping_of_the_server_is_passed_on_in_a_silence_of_a_second() -> None:
    client = Client()
    with client.alive(0.0) as alive:
        client.watch.on_tick(100.0)
        alive.relay()
        client.watch.on_tick(100.9)
        alive.relay()
        assert client.sent == []
        client.watch.on_tick(101.0)
        alive.relay()
        alive.relay()
        assert client.sent == [200, PING]
        client.watch.on_tick(1000.0)
        assert client.sent == [200, PING]


@in_loop
async def test_a_client_that_does_not_read_gets_none() -> None:
    client = Client()
    with client.alive(1.0):
        client.watch.on_tick(100.0)
        client.full = True
        client.watch.on_tick(102.0)
        assert (client.sent, client.call.is_held_open, client.call.started) == ([], False, False)
        client.full = False
        client.watch.on_tick(103.0)
        assert client.sent == [200, PING]
