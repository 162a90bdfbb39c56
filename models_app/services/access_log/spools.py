"""Recovers the spools of web processes that were killed."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import transaction

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord, Origin
from models_app.domain.records.spool_format import Found, Header
from models_app.models import GatewayProcess
from models_app.services.access_log import quarantine, store

logger = logging.getLogger(__name__)

_BATCH = 500
# The status of a request that was in progress when its process was killed.
CUT_OFF_STATUS = 500


def recover(folder: Path | None = None) -> int:
    """Ship every spool whose writer is dead; returns the number of records.

    Concurrent recoveries never take the same spool, and a recovery that is killed is repeated: storing is idempotent.
    Raises DatabaseError when the database is unavailable; spools not yet shipped stay.
    """
    where = folder or quarantine.folder()
    return sum(_recover_one(lock) for lock in sorted(where.glob("access-*.lock")))


def _recover_one(lock: Path) -> int:
    with _dead(lock) as is_dead:
        if not is_dead:
            return 0
        segments = sorted(lock.parent.glob(f"{lock.stem}.*.log"))
        count = _DeadSpool().ship(segments)
        for path in segments:
            path.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    if count:
        logger.warning("%d access records of a process that was killed were recovered from %s.", count, lock)
    return count


@contextmanager
def _dead(lock: Path) -> Iterator[bool]:
    """Yields whether the writer of a spool is dead; a dead one's spool is locked meanwhile."""
    try:
        file = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(file)


class _DeadSpool:
    """The spool of one dead process; its segments are shipped one by one, so that any amount fits into memory."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._last = 0
        self._damaged = 0
        self._shipped = 0
        # Requests without a recorded end.
        self._begun: dict[str, AccessRecord] = {}

    def ship(self, segments: list[Path]) -> int:
        for path in segments:
            self._ship_segment(path, spool_format.read(path.read_bytes()))
        cut_off = list(self._begun.values())
        self._store(cut_off, None)
        if origin := self._origin():
            _record_end(origin, damaged=self._damaged, cut_off=len(cut_off))
        return self._shipped

    def _ship_segment(self, path: Path, found: Found) -> None:
        self._header = found.header or self._header
        self._last = max(self._last, found.last)
        self._store(found.records, self._origin())
        last_write = path.stat().st_mtime
        for record in found.begun:
            self._begun[record.request_id] = _as_cut_off(record, last_write)
        for record in found.records:
            self._begun.pop(record.request_id, None)
        if found.bad:
            quarantine.put_lines(found.bad, path.name)
            # A damaged mark is not a missing record.
            self._damaged += sum(not line.startswith(spool_format.BEGUN) for line in found.bad)

    def _store(self, records: list[AccessRecord], origin: Origin | None) -> None:
        for start in range(0, len(records), _BATCH):
            store.store(records[start : start + _BATCH], origin)
        self._shipped += len(records)

    def _origin(self) -> Origin | None:
        header = self._header
        if header is None:
            return None
        return Origin(header.recorder, header.node, header.pid, header.started_at, recorded=self._last)


def _as_cut_off(record: AccessRecord, last_write: float) -> AccessRecord:
    """`last_write` is when the process last wrote to its spool: the request took at least until then."""
    record.status = CUT_OFF_STATUS
    record.error_code = "server_killed"
    record.aborted = True
    record.duration_ms = max(0.0, (last_write - record.started_at) * 1000)
    return record


@transaction.atomic
def _record_end(origin: Origin, *, damaged: int, cut_off: int) -> None:
    # A recovery that was killed after this is repeated.
    if not GatewayProcess.objects.filter(recorder=origin.recorder, recovered=True).exists():
        store.count(origin, quarantined=damaged, cut_off=cut_off, recovered=1)
