"""Counts the reads of registry entries in memory and writes them periodically: a read costs no write.

Requests through the gateway are counted with their access records (`models_app.services.access_log.store`). A process
that is killed loses the reads that it has not written yet: those of at most `FLUSH_SECONDS`, and of the time that the
database was unavailable. No other reads are lost, and none is counted twice.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import time
from typing import TypeVar

from django.db import DatabaseError, connection, transaction

from models_app.models import RegisteredModel
from models_app.services.rollups import rollups
from models_app.threads import RepeatingThread

logger = logging.getLogger(__name__)

# Short enough for the console, long enough to cost next to nothing.
FLUSH_SECONDS = 5.0

Pending = dict[tuple[str, int], tuple[int, float]]
"""Reads by model key and hour (hours since 1970): their count, and the time of the last (Unix seconds)."""


Unwritten = dict[str, tuple[int, float]]
"""Reads that are not in the database, by model key: their count, and the time of the last (Unix seconds)."""

Found = TypeVar("Found")


class _Reads:
    """The reads that this process has counted and not yet written."""

    def __init__(self) -> None:
        self._pending: Pending = {}
        # The hours of `_pending`: one or two, unless the database is unavailable for long.
        self._hours: set[int] = set()
        # Being written: whether it is in the database is unknown until the transaction has ended.
        self._writing: Pending = {}
        self._counting = threading.Lock()
        # Held during a flush.
        self.flushing = threading.Lock()
        self.flushes = 0

    def add(self, key: str) -> None:
        now = time()
        place = (key, int(now) // 3600)
        with self._counting:
            count, _ = self._pending.get(place, (0, 0.0))
            self._pending[place] = (count + 1, now)
            self._hours.add(place[1])

    def take(self) -> Pending:
        with self._counting:
            self._writing, self._pending = self._pending, {}
            self._hours = set()
            return self._writing

    def written(self) -> None:
        with self._counting:
            self._writing = {}
            self.flushes += 1

    def put_back(self) -> None:
        with self._counting:
            for place, (count, last) in self._writing.items():
                newer, newest = self._pending.get(place, (0, 0.0))
                self._pending[place] = (count + newer, max(last, newest))
                self._hours.add(place[1])
            self._writing = {}

    def waiting(self, flushes: int, keys: Iterable[str] | None) -> Unwritten | None:
        """Unwritten reads of these models, or of all; None when a flush makes it unclear what the database holds."""
        with self._counting:
            if self._writing or self.flushes != flushes:
                return None
            found: Unwritten = {}
            for key in {key for key, _ in self._pending} if keys is None else keys:
                for hour in self._hours:
                    count, last = self._pending.get((key, hour), (0, 0.0))
                    if count:
                        earlier, latest = found.get(key, (0, 0.0))
                        found[key] = (earlier + count, max(latest, last))
            return found


_reads = _Reads()


def count_read(*, key: str) -> None:
    """Count a read of this model's registry entry. Takes a microsecond and never blocks on the database."""
    _reads.add(key)


def accesses(*, key: str) -> tuple[int, datetime | None]:
    """Reads and requests of a model so far, and the last one; (0, None) for a model that is not registered."""
    return accesses_of([key]).get(key, (0, None))


def accesses_of(keys: Iterable[str]) -> dict[str, tuple[int, datetime | None]]:
    """As `accesses`, for many registered models with one query.

    Includes the accesses that this process has not written yet.
    """
    chosen = list(keys)

    def read() -> dict[str, tuple[int, datetime | None]]:
        rows = RegisteredModel.objects.filter(key__in=chosen)
        stored = rows.values_list("key", "access_count", "last_accessed_at")
        return {key: (count, last) for key, count, last in stored}

    found, waiting = with_unwritten(read, chosen)
    return {key: plus(*found[key], waiting.get(key)) for key in found}


def with_unwritten(read: Callable[[], Found], keys: Iterable[str] | None = None) -> tuple[Found, Unwritten]:
    """The result of `read`, and the reads that this process had not written at that moment.

    `keys` limits them to these models; None returns those of all models.
    """
    while True:
        flushes = _reads.flushes
        found = read()
        waiting = _reads.waiting(flushes, keys)
        if waiting is not None:
            return found, waiting
        with _reads.flushing:  # until the flush has ended
            continue


def plus(count: int, last: datetime | None, waiting: tuple[int, float] | None) -> tuple[int, datetime | None]:
    """The stored accesses of a model plus those not written yet."""
    if waiting is None:
        return count, last
    read_at = datetime.fromtimestamp(waiting[1], UTC)
    return count + waiting[0], max(last, read_at) if last else read_at


def flush() -> None:
    """Write the counted reads; on an error they are kept for the next flush."""
    with _reads.flushing:
        pending = _reads.take()
        if not pending:
            return
        try:
            with transaction.atomic():
                rollups.add(_sums_of(pending))
        except BaseException:
            _reads.put_back()
            raise
        _reads.written()


def _sums_of(pending: Pending) -> dict[rollups.Place, rollups.Sums]:
    epoch = datetime.fromtimestamp(0, UTC)
    return {
        (key, epoch + timedelta(hours=hour), ""): rollups.Sums(reads=count, last_at=datetime.fromtimestamp(last, UTC))
        for (key, hour), (count, last) in pending.items()
    }


def _try_to_flush() -> None:
    try:
        flush()
    except DatabaseError:
        logger.warning("Reads could not be written to the database; retried with the next flush.", exc_info=True)
    finally:
        connection.close()


_flusher = RepeatingThread("activity-flusher", _try_to_flush, lambda: FLUSH_SECONDS, at_once=False)


def start() -> None:
    """Flush every `FLUSH_SECONDS` from now on. A web process calls it when it starts."""
    # A web process that ends without its shutdown still writes what it has counted.
    atexit.register(stop)
    _flusher.start()


def stop() -> None:
    """Flush a last time, on the caller's thread."""
    atexit.unregister(stop)
    _flusher.stop()
    _try_to_flush()
