"""Requests that wait for a model that is not loaded: each with its own deadline, all woken together.

A request holds its place from the beginning of its wait until its model has answered it, or it gives up: the published
number of places keeps the model from being unloaded before those requests are served.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from models_app.domain.errors import NoaError, Unavailable
from models_app.domain.residency.demand import NOTHING, ModelDemand, Permission
from models_app.gateway.http.errors import ServerStopping
from models_app.gateway.routing.model_loader import ModelLoader


@dataclass(slots=True, eq=False)
class Place:
    """One request's place in the queue for a model. Always `leave` it."""

    queue: _Queue
    permission: Permission
    request_id: str
    waiter: asyncio.Future[None] | None = None


class _Queue:
    """All places of one model. `since` is when the first of them was taken, in Unix seconds."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.since = time.time()
        # In the order of arrival.
        self.places: dict[Place, None] = {}

    def demand(self) -> ModelDemand:
        permission, request_id = NOTHING, ""
        for place in self.places:
            permission |= place.permission
            request_id = request_id or (place.request_id if place.permission.load else "")
        return ModelDemand(self.key, len(self.places), self.since, permission, request_id)

    def wake(self) -> None:
        for place in self.places:
            if place.waiter is not None:
                _wake(place.waiter)


class PendingRequests:
    """The queues of a process, one for each model with waiting requests. Belongs to one event loop.

    `end_wait` and `wake` can be called from any thread.
    """

    def __init__(self, loader: ModelLoader, limit: int) -> None:
        """At most `limit` requests wait for one model."""
        self._loader = loader
        self._limit = limit
        self._queues: dict[str, _Queue] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def enter(self, key: str, permission: Permission, request_id: str) -> Place:
        """A place for one request. Raises Unavailable when the queue is full, ServerStopping after `close`."""
        if self._closed:
            raise ServerStopping
        self._loop = asyncio.get_running_loop()
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(key)
        elif len(queue.places) >= self._limit:
            raise queue_full(key, self._limit, self._loader.retry_after(key))
        place = Place(queue, permission, request_id)
        queue.places[place] = None
        self._loader.demand(queue.demand())
        return place

    def leave(self, place: Place) -> None:
        queue = place.queue
        queue.places.pop(place, None)
        if not queue.places and self._queues.get(queue.key) is queue:
            del self._queues[queue.key]
        self._loader.demand(queue.demand())

    async def pause(self, place: Place, until: float) -> None:
        """Waits for a new snapshot, at most until `until` (the loop's time). Raises the error of `end_wait`."""
        loop = asyncio.get_running_loop()
        waiter = place.waiter = loop.create_future()
        timer = loop.call_at(until, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            place.waiter = None

    def end_wait(self, key: str, error: NoaError) -> None:
        """Ends every wait for this model with `error`."""
        self._in_loop(lambda: self._end(key, error))

    def wake(self) -> None:
        """Makes waiting requests resolve their names again: there is a new snapshot, or a trial was granted."""
        if self._queues:
            self._in_loop(self._wake)

    def close(self) -> None:
        """Ends every wait: the server is stopping."""
        self._closed = True
        for key in list(self._queues):
            self._end(key, ServerStopping())

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

    def timed_out(self, key: str, seconds: float) -> Unavailable:
        """The error of a request that has waited for `seconds`."""
        return Unavailable(
            f"The model '{key}' was not ready within {seconds:g} seconds. It is loading: retry after the time in "
            "'Retry-After'.",
            code="model_loading",
            retry_after=self._loader.retry_after(key),
        )


def queue_full(key: str, limit: int, retry_after: int) -> Unavailable:
    return Unavailable(
        f"{limit} requests are already waiting for '{key}'. Try again later.",
        code="queue_full",
        retry_after=retry_after,
    )


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
