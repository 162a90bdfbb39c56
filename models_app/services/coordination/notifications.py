"""Tells of changes to the other processes, and hears of theirs.

On PostgreSQL a change is announced in its own transaction, by NOTIFY, and so heard when it is committed and not before.
SQLite counts the commits of others in a number that costs microseconds to read, which is looked at often. Whoever hears
gets no more than "look again": what has changed is in the database. So nothing is lost with an announcement, as long as
everybody also looks now and then without one.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import threading
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from models_app.services.coordination import signals

logger = logging.getLogger(__name__)

CHANNEL = "noa_changes"
# A process knows its own changes before they are announced.
ORIGIN = secrets.token_hex(8)

# SQLite: what a switch may take until other processes look for it. One look costs about 20 µs.
_LOOK_SECONDS = 0.02
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 2.0
# A connection that is silent for this long is asked whether it still hears; a hung server does not close it.
_SILENT_SECONDS = 5.0


def announce() -> None:
    """Let other processes look again, once the caller's transaction is committed."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, ORIGIN])


class Follower:
    """Hears on a thread of its own, from `start` to `stop`, which may follow each other again."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_read = self._wake_write = -1

    def start(self) -> None:
        """Does nothing where no other process uses the database."""
        if self._thread is not None or not _has_others():
            return
        self._stopping.clear()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is None:
            return
        self._stopping.set()
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._thread = None
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        pause = _FIRST_RETRY_SECONDS
        while not self._stopping.is_set():
            began = monotonic()
            try:
                self._follow()
            except (DatabaseError, psycopg.Error) as error:
                logger.warning("changes of other processes are not heard, only polled: %s", error)
            finally:
                connection.close()
            if monotonic() - began > _LAST_RETRY_SECONDS:
                pause = _FIRST_RETRY_SECONDS
            self._stopping.wait(pause)
            pause = min(2 * pause, _LAST_RETRY_SECONDS)

    def _follow(self) -> None:
        if connection.vendor == "postgresql":
            with _listening(connection) as heard:
                # What happened while nobody listened.
                _tell()
                while not self._stopping.is_set():
                    self._hear(heard)
        else:
            self._watch()

    def _hear(self, heard: psycopg.Connection[Any]) -> None:
        ready, _, _ = select.select([heard.fileno(), self._wake_read], [], [], _SILENT_SECONDS)
        if not ready:
            heard.execute("SELECT 1")
            # The next call is not without any patience: psycopg would leave unread what the socket has.
        elif any(note.payload != ORIGIN for note in heard.notifies(timeout=0.05, stop_after=1)):
            _tell()

    def _watch(self) -> None:
        """The connection stays open: the number counts the commits of all others since it was opened."""
        last = None
        while not self._stopping.wait(_LOOK_SECONDS):
            with connection.cursor() as cursor:
                (number,) = cursor.execute("PRAGMA data_version").fetchone()
            if last not in (None, number):
                _tell()
            last = number


def _tell() -> None:
    signals.stirred.send_robust(sender=Follower)


def _has_others() -> bool:
    return connection.vendor == "postgresql" or settings.NOA_WEB_PROCESSES > 1


def _listening(django: BaseDatabaseWrapper) -> psycopg.Connection[Any]:
    """A connection of its own, outside of the pool: it is held for good."""
    made: Any = django
    kind = made.pool.connection_class if made.pool else psycopg.Connection
    heard: psycopg.Connection[Any] = kind.connect(**made.get_connection_params(), autocommit=True)
    heard.execute(f"LISTEN {CHANNEL}".encode())
    return heard


follower = Follower()
"""The one of this process."""
