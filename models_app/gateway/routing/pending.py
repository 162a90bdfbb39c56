"""Requests that wait for a model that is not loaded: each for a while of its own, all told at once how it ended.

A request holds its place from the moment it begins to wait until its model has answered it, or it gives up: what is
told of a model's places keeps it from being unloaded before those who waited for it were served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from models_app.domain.errors import Draining, NoaError, Unavailable
from models_app.domain.residency.demand import NOTHING, Permission, Want
from models_app.domain.residency.suspects import Death

# Called from any thread with a model's key and what ends the wait for it.
Tell = Callable[[str, NoaError], None]


class Loads(Protocol):
    """How models come to be loaded. What is called here never blocks."""

    def want(self, want: Want) -> None:
        """What the requests for one model want together now; `waiting` 0 when there are none any more."""

    def died(self, death: Death) -> None:
        """A runner ended with a request in it."""

    def join(self, death: Death) -> None:
        """A request has come that was in that runner already, sent by somebody else: it waits for the same turn."""

    def may_ask(self, death: Death) -> bool:
        """Whether that request may be asked once more now; a new snapshot, or a look later, may change it."""

    def tried(self, death: Death, *, survived: bool) -> None:
        """It was asked once more, and whether its runner survived that; or it never will be."""

    def retry_after(self, key: str) -> int:
        """Seconds after which it is worth asking again for a model that was waited for in vain."""


class NoLoads:
    """For a gateway that nobody loads models for."""

    def want(self, want: Want) -> None:
        pass

    def died(self, death: Death) -> None:
        pass

    def join(self, death: Death) -> None:
        pass

    def may_ask(self, death: Death) -> bool:
        return True

    def tried(self, death: Death, *, survived: bool) -> None:
        pass

    def retry_after(self, key: str) -> int:
        return 1


class Crowd:
    """How many requests of each model are in its runner, or in that runner's queue. A bound keeps answers prompt."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside: dict[str, int] = {}

    def enter(self, key: str) -> None:
        """Raises Unavailable when there are as many as may be; `leave` whoever has entered."""
        inside = self._inside.get(key, 0)
        if inside >= self._limit:
            raise queue_full(key, self._limit, 1)
        self._inside[key] = inside + 1

    def leave(self, key: str) -> None:
        self._inside[key] -= 1


@dataclass(slots=True, eq=False)
class Place:
    """One request's place in the queue for a model. `leave` it in any case."""

    queue: _Queue
    permission: Permission
    request_id: str
    waiter: asyncio.Future[None] | None = None


class _Queue:
    """All places of one model. `since` is when the first of them was taken, in Unix seconds."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.since = time.time()
        # In the order in which they came.
        self.places: dict[Place, None] = {}

    def want(self) -> Want:
        permission, request_id = NOTHING, ""
        for place in self.places:
            permission |= place.permission
            request_id = request_id or (place.request_id if place.permission.load else "")
        return Want(self.key, len(self.places), self.since, permission, request_id)

    def wake(self) -> None:
        for place in self.places:
            if place.waiter is not None:
                _wake(place.waiter)


class WaitingRoom:
    """The queues of a process, one for each model that is waited for. Belongs to one event loop, but for `tell`."""

    def __init__(self, loads: Loads, limit: int) -> None:
        """At most `limit` requests wait for one model."""
        self._loads = loads
        self._limit = limit
        self._queues: dict[str, _Queue] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def enter(self, key: str, permission: Permission, request_id: str) -> Place:
        """A place for one request. Raises Unavailable when all are taken, Draining when the server is stopping."""
        if self._closed:
            raise _stopping()
        self._loop = asyncio.get_running_loop()
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(key)
        elif len(queue.places) >= self._limit:
            raise queue_full(key, self._limit, self._loads.retry_after(key))
        place = Place(queue, permission, request_id)
        queue.places[place] = None
        self._loads.want(queue.want())
        return place

    def leave(self, place: Place) -> None:
        queue = place.queue
        queue.places.pop(place, None)
        if not queue.places and self._queues.get(queue.key) is queue:
            del self._queues[queue.key]
        self._loads.want(queue.want())

    async def pause(self, place: Place, until: float) -> None:
        """Until there is a new snapshot, or `until` (the loop's time). Raises what the wait was ended with."""
        loop = asyncio.get_running_loop()
        waiter = place.waiter = loop.create_future()
        timer = loop.call_at(until, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            place.waiter = None

    def tell(self, key: str, error: NoaError) -> None:
        """Ends the wait of all who wait for this model. May be called from any thread."""
        self._in_loop(lambda: self._end(key, error))

    def look_again(self) -> None:
        """There is a new snapshot. May be called from any thread."""
        if self._queues:
            self._in_loop(self._wake)

    def close(self) -> None:
        """Nobody waits any more: the server is stopping."""
        self._closed = True
        for key in list(self._queues):
            self._end(key, _stopping())

    def _in_loop(self, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call)

    def _wake(self) -> None:
        for queue in self._queues.values():
            queue.wake()

    def _end(self, key: str, error: NoaError) -> None:
        queue = self._queues.get(key)
        for place in queue.places if queue else ():
            if place.waiter is not None and not place.waiter.done():
                place.waiter.set_exception(error)

    def too_late(self, key: str, seconds: float) -> Unavailable:
        """For a request that has waited for `seconds` in vain."""
        return Unavailable(
            f"The model '{key}' was not ready within {seconds:g} seconds. It is being loaded: ask again after the time in "
            "'Retry-After'.",
            code="model_loading",
            retry_after=self._loads.retry_after(key),
        )


def queue_full(key: str, limit: int, retry_after: int) -> Unavailable:
    return Unavailable(
        f"{limit} requests wait for '{key}' already. Try again later.",
        code="queue_full",
        retry_after=retry_after,
    )


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _stopping() -> Draining:
    return Draining("The server is stopping. Send the request again.", code="server_stopping", retry_after=1)
