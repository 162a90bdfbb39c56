"""What is new among the events: one thread of a process reads it for everybody who listens in this process.

A listener keeps its own place, the id of the last event that it has sent, and asks for what is `after` it. The newest
events are in memory, so that many listeners cost one query; who is further behind reads the table until it has caught
up. A slow listener therefore holds nothing but its place, and one that comes back goes on exactly where it was.
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

logger = logging.getLogger(__name__)

# The net for events that nobody told of.
POLL_SECONDS = 1.0
# Each stream holds a socket and an idle thread of Django's until it ends. A browser opens one a page; more than this
# is a fault of somebody who reconnects without closing, and must not take the threads of everybody else.
MAX_STREAMS = 100
# What listeners that keep up find in memory: far more than happens between two of their looks.
_REMEMBERED = 1000
# Rows of one query, so that who catches up over a long time does not load all of it at once.
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
    """Follows the table of events from `start` to `stop`. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[StreamedEvent] = deque(maxlen=_REMEMBERED)
        # Every event that follows this id and has been read is in `_recent`.
        self._horizon = 0
        self._listeners: set[Callable[[], None]] = set()
        self._stirred = threading.Event()
        self._is_open = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listeners are taken from now on. A web process calls it when it starts."""
        self._recent.clear()
        self._horizon = events.newest_id()
        self._is_open = True
        self._thread = threading.Thread(target=self._follow, name="event-hub", daemon=True)
        signals.event_published.connect(self._stir)
        signals.stirred.connect(self._stir)
        self._thread.start()

    def close(self) -> None:
        """Every stream ends by itself now, and no new one is taken. Does not wait."""
        signals.event_published.disconnect(self._stir)
        signals.stirred.disconnect(self._stir)
        self._is_open = False
        self._stirred.set()
        self._wake_listeners()

    def stop(self) -> None:
        """As `close`, and waits for the thread."""
        self.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def is_open(self) -> bool:
        return self._is_open

    def check_room(self) -> None:
        """Raises Unavailable when there is no place for one more stream, or this process is ending."""
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

    def join(self, wake: Callable[[], None]) -> None:
        """`wake` is called, from another thread, whenever there may be something new. Raises as `check_room`."""
        with self._lock:
            self.check_room()
            self._listeners.add(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        with self._lock:
            self._listeners.discard(wake)

    @property
    def stream_count(self) -> int:
        return len(self._listeners)

    def after(self, place: int) -> list[StreamedEvent] | None:
        """The events in memory that follow an id; None when it is so far back that the table must be read."""
        with self._lock:
            if place < self._horizon:
                return None
            return list(takewhile(lambda item: item.id > place, reversed(self._recent)))[::-1]

    def _follow(self) -> None:
        last = self._horizon
        while self._is_open:
            self._stirred.wait(POLL_SECONDS)
            self._stirred.clear()
            try:
                found = read(after=last)
            except DatabaseError:
                logger.warning("new events could not be read; later", exc_info=True)
                continue
            finally:
                connection.close()
            if found:
                last = found[-1].id
                self._remember(found)
                self._wake_listeners()
            if len(found) == _BATCH:
                self._stirred.set()

    def _remember(self, found: list[StreamedEvent]) -> None:
        with self._lock:
            for item in found:
                if len(self._recent) == _REMEMBERED:
                    self._horizon = self._recent[0].id
                self._recent.append(item)

    def _stir(self, **_: Any) -> None:
        self._stirred.set()

    def _wake_listeners(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for wake in listeners:
            wake()


hub = EventHub()
"""The one of this process."""
