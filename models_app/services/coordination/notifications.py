"""Notifies other processes of changes, and receives their notifications.

On PostgreSQL a change is announced in its own transaction, by NOTIFY, so that it is received once it is committed and
not earlier. SQLite counts the commits of other connections in a number that takes microseconds to read; it is polled. A
notification has no payload: subscribers read the database. A lost one therefore loses no change, as long as every
subscriber also polls at intervals.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
from time import monotonic, sleep
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from models_app.services.coordination import signals
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

CHANNEL = "noa_changes"
# A process has its own changes before they are announced, so it ignores its own notifications.
ORIGIN = secrets.token_hex(8)

# SQLite: how long a switch can take until other processes notice it. One poll takes about 20 µs.
_POLL_SECONDS = 0.02
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 2.0
# A connection that receives nothing for this long is checked by a query; a hung server does not close it.
_IDLE_SECONDS = 5.0


def announce() -> None:
    """Notify other processes, once the caller's transaction is committed."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, ORIGIN])


class Follower:
    """Receives notifications on its own thread, from `start` to `stop`; it can be started again."""

    def __init__(self) -> None:
        self._thread = RepeatingThread("notifications", self._try_to_follow, lambda: self._pause)
        self._pause = 0.0
        # A pipe that interrupts `select`; -1 while stopped.
        self._wake_read = self._wake_write = -1

    def start(self) -> None:
        """Does nothing where no other process uses the database."""
        if self._wake_read >= 0 or not _has_others():
            return
        self._pause = 0.0
        self._wake_read, self._wake_write = os.pipe()
        self._thread.start()

    def stop(self) -> None:
        if self._wake_read < 0:
            return
        os.write(self._wake_write, b"x")
        self._thread.stop()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_read = self._wake_write = -1

    def _try_to_follow(self) -> None:
        """Returns when the connection fails, and sets the pause until the next attempt."""
        began = monotonic()
        try:
            self._follow()
        except (DatabaseError, psycopg.Error) as error:
            logger.warning("notifications of other processes are not received, only polled for: %s", error)
        finally:
            connection.close()
            if monotonic() - began > _LAST_RETRY_SECONDS:
                self._pause = 0.0
            self._pause = min(max(2 * self._pause, _FIRST_RETRY_SECONDS), _LAST_RETRY_SECONDS)

    def _follow(self) -> None:
        if connection.vendor == "postgresql":
            with _listening(connection) as listener:
                # For changes from before LISTEN.
                _publish()
                while not self._thread.is_stopping:
                    self._receive(listener)
        else:
            self._poll()

    def _receive(self, listener: psycopg.Connection[Any]) -> None:
        ready, _, _ = select.select([listener.fileno(), self._wake_read], [], [], _IDLE_SECONDS)
        if not ready:
            listener.execute("SELECT 1")
            # With a timeout of 0 the data in the socket would stay unread.
        elif any(item.payload != ORIGIN for item in listener.notifies(timeout=0.05, stop_after=1)):
            _publish()

    def _poll(self) -> None:
        """The connection stays open: the number counts the commits of all others since it was opened."""
        last = None
        while not self._thread.is_stopping:
            sleep(_POLL_SECONDS)
            with connection.cursor() as cursor:
                (number,) = cursor.execute("PRAGMA data_version").fetchone()
            if last not in (None, number):
                _publish()
            last = number


def _publish() -> None:
    signals.database_changed.send_robust(sender=Follower)


def _has_others() -> bool:
    return connection.vendor == "postgresql" or settings.NOA_WEB_PROCESSES > 1


def _listening(django: BaseDatabaseWrapper) -> psycopg.Connection[Any]:
    """A connection outside of the pool, which would otherwise be one connection short."""
    made: Any = django
    kind = made.pool.connection_class if made.pool else psycopg.Connection
    listener: psycopg.Connection[Any] = kind.connect(**made.get_connection_params(), autocommit=True)
    listener.execute(f"LISTEN {CHANNEL}".encode())
    return listener


follower = Follower()
"""The follower of this process."""
