"""Keeps the gateway's snapshot of routes, models and keys up to date with the database."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from django.db import DatabaseError, connection

from models_app import clocks
from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, Snapshot
from models_app.services.coordination import signals
from models_app.services.routes import routing

logger = logging.getLogger(__name__)

# Detects changes without a notification. Changes of this process arrive at once, by signal, those of others with their
# notification.
POLL_SECONDS = 1.0
# How long a request waits for a database that hangs, before it continues with the snapshot in memory.
REFRESH_SECONDS = 2.0


class LiveSnapshots:
    """`current` is replaced as a whole; readers need no lock."""

    def __init__(self) -> None:
        self.current: Snapshot = EMPTY_SNAPSHOT
        # Called from any thread after `current` was replaced.
        self.listener: Callable[[], None] = _no_listener
        self._lock = threading.Lock()
        self._work = threading.Condition()
        self._stopping = False
        self._changed = False
        # Requests that wait for a new snapshot: one read serves all of them.
        self._waiting: list[Future[None]] = []
        self._thread = threading.Thread(target=self._follow, name="routing-snapshots", daemon=True)

    def start(self) -> None:
        """Read the first snapshot, then follow every change."""
        self.reload()
        signals.routing_changed.connect(self._on_change)
        signals.database_changed.connect(self._wake)
        self._thread.start()

    def stop(self) -> None:
        signals.routing_changed.disconnect(self._on_change)
        signals.database_changed.disconnect(self._wake)
        with self._work:
            self._stopping = True
            self._work.notify()
        self._thread.join()

    async def refresh(self, reason: str) -> Snapshot:
        """A snapshot that is newer than this call; the current one when the database does not answer in time.

        Only a new revision is read as a whole: unknown keys and names must not cost a read of the registry.
        """
        logger.debug("looking for a new routing snapshot: %s", reason)
        done: Future[None] = Future()
        with self._work:
            self._waiting.append(done)
            self._work.notify()
        try:
            async with clocks.timeout(REFRESH_SECONDS):
                await asyncio.wrap_future(done)
        except TimeoutError:
            logger.warning("no new routing snapshot in %g s: %s", REFRESH_SECONDS, reason)
        return self.current

    def reload(self) -> None:
        """Read a new snapshot on the caller's connection; concurrent calls never leave an older one in place."""
        with self._lock:
            self.current = routing.snapshot()
        self.listener()

    def _on_change(self, **_: Any) -> None:
        try:
            self.reload()
        except DatabaseError:
            # The gateway continues with the snapshot in memory: serving must not need the database.
            logger.warning("the routing snapshot could not be read", exc_info=True)

    def _wake(self, **_: Any) -> None:
        with self._work:
            self._changed = True
            self._work.notify()

    def _follow(self) -> None:
        # Not a RepeatingThread: on SQLite its connection stays open between reads. SQLite tidies up its files when the
        # last connection of all closes, and without this one that would be after almost every request of the API.
        try:
            while not self._stopping:
                with self._work:
                    self._work.wait_for(self._has_work, POLL_SECONDS)
                    self._changed = False
                    waiting, self._waiting = self._waiting, []
                self.follow(waiting)
                if connection.vendor == "postgresql":
                    connection.close()
        finally:
            connection.close()

    def _has_work(self) -> bool:
        return bool(self._stopping or self._changed or self._waiting)

    def follow(self, waiting: Sequence[Future[None]] = ()) -> None:
        """Read the snapshot if its revision has changed, then continue the requests that wait; on the caller's
        connection."""
        try:
            if routing.revision() != self.current.revision:
                self.reload()
        except DatabaseError:
            logger.warning("the routing snapshot could not be read", exc_info=True)
            connection.close()
        finally:
            for done in waiting:
                # A request whose wait timed out has cancelled it.
                if done.set_running_or_notify_cancel():
                    done.set_result(None)


def _no_listener() -> None:
    """Until the site sets one."""
