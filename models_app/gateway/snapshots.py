"""Keeps the gateway's snapshot of routes, models and keys new. The only module of the gateway that knows the database."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, connection

from models_app.domain.routing import EMPTY_SNAPSHOT, Snapshot
from models_app.services import routing, signals

logger = logging.getLogger(__name__)

# The net for changes made by other processes: a change in this one is seen at once, by signal.
POLL_SECONDS = 1.0


class LiveSnapshots:
    """`current` is replaced by pointer; readers need no lock."""

    def __init__(self) -> None:
        self.current: Snapshot = EMPTY_SNAPSHOT
        # Called from any thread after `current` was replaced.
        self.listener: Callable[[], None] = _nobody
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="routing-snapshots", daemon=True)

    def start(self) -> None:
        """Read the first snapshot, then follow every change."""
        self.reload()
        signals.routing_changed.connect(self._on_change)
        self._thread.start()

    def stop(self) -> None:
        signals.routing_changed.disconnect(self._on_change)
        self._stopping.set()
        self._thread.join()

    async def refresh(self, reason: str) -> Snapshot:
        """A snapshot that is newer than this call."""
        logger.debug("reading a new routing snapshot: %s", reason)
        await asyncio.to_thread(self._reload_here)
        return self.current

    def reload(self) -> None:
        """Read a new snapshot on the caller's connection; two at once never put an older one last."""
        with self._lock:
            self.current = routing.snapshot()
        self.listener()

    def _reload_here(self) -> None:
        try:
            self._on_change()
        finally:
            connection.close()

    def _on_change(self, **_: Any) -> None:
        try:
            self.reload()
        except DatabaseError:
            # The gateway goes on with what it knows: serving must not need the database.
            logger.warning("the routing snapshot could not be read", exc_info=True)

    def _poll(self) -> None:
        # Its connection stays open between looks. SQLite tidies up its files when the last connection of all closes:
        # without this one, that would be after almost every request of the API.
        try:
            while not self._stopping.wait(POLL_SECONDS):
                self.follow()
        finally:
            connection.close()

    def follow(self) -> None:
        """Read the snapshot anew if it has moved, on the caller's connection."""
        try:
            moved = routing.revision() != self.current.revision
        except DatabaseError:
            logger.warning("the routing revision could not be read", exc_info=True)
            connection.close()
        else:
            if moved:
                self._on_change()


def _nobody() -> None:
    """Before anybody listens."""
