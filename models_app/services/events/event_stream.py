"""New events: one thread of a process reads them for all listeners of this process.

A listener keeps its own position, the id of the last event that it has sent, and reads the events `after` it. The
newest events are in memory, so that many listeners cost one query; a listener that is further behind reads the table
until it has caught up. A slow listener therefore holds only its position, and one that reconnects resumes there.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django.db import DatabaseError, connection

from models_app.domain.errors import Unavailable
from models_app.models import Event
from models_app.services.coordination import signals
from models_app.services.events import events
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

# The interval at which events are found without a notification.
POLL_SECONDS = 1.0
# Each stream holds a socket and an idle thread of Django's until it ends. A browser opens one for each page; more come
# from a client that reconnects without closing, which must not exhaust the threads of all others.
MAX_STREAMS = 100
# The share of one API key or user, so that none can take the places of all others.
MAX_STREAMS_OF_ONE = 25
# How often a stream checks that its caller still has the right to it. Together with the poll of a notification and the
# query it stays below the 5 seconds that the documentation states.
RIGHTS_SECONDS = 3.0
# Events in memory for listeners that keep up: far more than happen between two of their reads.
_REMEMBERED = 1000
# Rows of one query: a listener that is far behind does not load all of them at once.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event, and its bytes as a server-sent event: encoded once for all listeners."""

    event: Event
    frame: bytes

    @property
    def id(self) -> int:
        return self.event.pk


def read(*, after: int) -> list[StreamedEvent]:
    """The events that follow an id, in order, at most `_BATCH` of them."""
    rows = Event.objects.filter(pk__gt=after).order_by("pk")[:_BATCH]
    return [StreamedEvent(event, _frame(event)) for event in rows]


def _frame(event: Event) -> bytes:
    # JSON holds no line break, which would end the event.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.pk,
        event.name.encode(),
        events.to_json(event),
    )


class EventHub:
    """Follows the table of events from `start` to `stop`. Methods can be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[StreamedEvent] = deque(maxlen=_REMEMBERED)
        # Every event that follows this id and has been read is in `_recent`.
        self._horizon = 0
        # Each with its owner, a key or a user.
        self._listeners: dict[Callable[[], None], str] = {}
        self._last = 0
        self._is_open = False
        self._thread = RepeatingThread("event-hub", self._read_new, lambda: POLL_SECONDS)

    def start(self) -> None:
        """Accept listeners from now on. A web process calls it when it starts."""
        self._recent.clear()
        self._horizon = self._last = events.newest_id()
        self._is_open = True
        signals.event_published.connect(self._wake)
        signals.database_changed.connect(self._wake)
        self._thread.start()

    def close(self) -> None:
        """End every stream and accept no new one. Does not wait."""
        signals.event_published.disconnect(self._wake)
        signals.database_changed.disconnect(self._wake)
        self._is_open = False
        self._wake_listeners()

    def stop(self) -> None:
        """Like `close`, and waits for the thread."""
        self.close()
        self._thread.stop()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def check_room(self, owner: str) -> None:
        """Raises Unavailable when a limit of streams is reached, or this process is stopping."""
        if not self._is_open:
            raise Unavailable(
                "The server is stopping. Connect again in a moment.",
                code="server_stopping",
                retry_after=1,
            )
        if len(self._listeners) >= MAX_STREAMS:
            raise Unavailable(
                f"{MAX_STREAMS} event streams are open already. Close some, or connect again later.",
                code="too_many_streams",
                retry_after=10,
            )
        if list(self._listeners.values()).count(owner) >= MAX_STREAMS_OF_ONE:
            raise Unavailable(
                f"{MAX_STREAMS_OF_ONE} event streams of this caller are open already. Close some of them.",
                code="too_many_streams",
                retry_after=10,
            )

    def join(self, wake: Callable[[], None], owner: str) -> None:
        """`wake` is called, from another thread, whenever there can be new events. Raises like `check_room`."""
        with self._lock:
            self.check_room(owner)
            self._listeners[wake] = owner

    def leave(self, wake: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.pop(wake, None)

    @property
    def stream_count(self) -> int:
        return len(self._listeners)

    def after(self, place: int) -> list[StreamedEvent] | None:
        """The events in memory that follow an id; None when the id is too old for that: read the table."""
        with self._lock:
            if place < self._horizon:
                return None
            return list(takewhile(lambda item: item.id > place, reversed(self._recent)))[::-1]

    def _read_new(self) -> None:
        if not self._is_open:
            return
        try:
            found = read(after=self._last)
        except DatabaseError:
            logger.warning("new events could not be read; retrying", exc_info=True)
            return
        finally:
            connection.close()
        if found:
            self._last = found[-1].id
            self._remember(found)
            self._wake_listeners()
        if len(found) == _BATCH:
            self._thread.wake()

    def _remember(self, found: list[StreamedEvent]) -> None:
        with self._lock:
            for item in found:
                if len(self._recent) == _REMEMBERED:
                    self._horizon = self._recent[0].id
                self._recent.append(item)

    def _wake(self, **_: Any) -> None:
        self._thread.wake()

    def _wake_listeners(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for wake in listeners:
            wake()


hub = EventHub()
"""The hub of this process."""
