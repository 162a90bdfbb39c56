"""Keeps the gateway's snapshot of routes, models and keys new. The only module of the gateway that knows the database."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from django.db import DatabaseError, connection

from models_app.domain.traffic.routing import EMPTY_SNAPSHOT, Snapshot
from models_app.services.coordination import signals
from models_app.services.routes import routing

logger = logging.getLogger(__name__)

# The net for changes that nobody told of: those of this process are seen at once, by signal, those of others as soon as
# they are heard of.
POLL_SECONDS = 1.0
# What a request may wait for a database that hangs, before it goes on with what is known.
REFRESH_SECONDS = 2.0


class LiveSnapshots:
    """`current` is replaced by pointer; readers need no lock."""

    def __init__(self) -> None:
        self.current: Snapshot = EMPTY_SNAPSHOT
        # Called from any thread after `current` was replaced.
        self.listener: Callable[[], None] = _nobody
        self._lock = threading.Lock()
        self._wanted = threading.Condition()
        self._stopping = False
        self._stirred = False
        # Requests that wait for a new snapshot: one read answers all of them.
        self._waiting: list[Future[None]] = []
        self._thread = threading.Thread(target=self._follow, name="routing-snapshots", daemon=True)

    def start(self) -> None:
        """Read the first snapshot, then follow every change."""
        self.reload()
        signals.routing_changed.connect(self._on_change)
        signals.stirred.connect(self._stir)
        self._thread.start()

    def stop(self) -> None:
        signals.routing_changed.disconnect(self._on_change)
        signals.stirred.disconnect(self._stir)
        with self._wanted:
            self._stopping = True
            self._wanted.notify()
        self._thread.join()

    async def refresh(self, reason: str) -> Snapshot:
        """A snapshot that is newer than this call; the one there is when the database does not answer in time."""
        logger.debug("reading a new routing snapshot: %s", reason)
        done: Future[None] = Future()
        with self._wanted:
            self._waiting.append(done)
            self._wanted.notify()
        try:
            await asyncio.wait_for(asyncio.wrap_future(done), REFRESH_SECONDS)
        except TimeoutError:
            logger.warning("no new routing snapshot in %g s: %s", REFRESH_SECONDS, reason)
        return self.current

    def reload(self) -> None:
        """Read a new snapshot on the caller's connection; two at once never put an older one last."""
        with self._lock:
            self.current = routing.snapshot()
        self.listener()

    def _on_change(self, **_: Any) -> None:
        try:
            self.reload()
        except DatabaseError:
            # The gateway goes on with what it knows: serving must not need the database.
            logger.warning("the routing snapshot could not be read", exc_info=True)

    def _stir(self, **_: Any) -> None:
        with self._wanted:
            self._stirred = True
            self._wanted.notify()

    def _follow(self) -> None:
        # On SQLite its connection stays open between looks: it tidies up its files when the last connection of all
        # closes, and without this one, that would be after almost every request of the API.
        try:
            while not self._stopping:
                with self._wanted:
                    self._wanted.wait_for(self._has_work, POLL_SECONDS)
                    self._stirred = False
                    waiting, self._waiting = self._waiting, []
                self.follow(waiting)
                if connection.vendor == "postgresql":
                    connection.close()
        finally:
            connection.close()

    def _has_work(self) -> bool:
        return bool(self._stopping or self._stirred or self._waiting)

    def follow(self, waiting: Sequence[Future[None]] = ()) -> None:
        """Read the snapshot anew if it has moved or somebody waits for it, on the caller's connection."""
        try:
            if waiting or routing.revision() != self.current.revision:
                self.reload()
        except DatabaseError:
            logger.warning("the routing snapshot could not be read", exc_info=True)
            connection.close()
        finally:
            for done in waiting:
                # One that has waited long enough has cancelled it.
                if done.set_running_or_notify_cancel():
                    done.set_result(None)


def _nobody() -> None:
    """Before anybody listens."""
