"""Accepts access records in microseconds, keeps them in a file, and stores them in batches on a separate thread."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord, Origin
from models_app.domain.records.spool_format import Header
from models_app.gateway.recording.spool import Spool

logger = logging.getLogger(__name__)

Sink = Callable[[list[AccessRecord]], None]

# Without a spool, or while its disk is full: about 45 MB of records.
MAX_PENDING = 50_000
# Large enough to make a transaction worth it, small enough that a batch never blocks the writer for long.
BATCH_SIZE = 500
BATCH_SECONDS = 0.25
# A record is 250 to 500 bytes.
_BATCH_BYTES = 192 * 1024
_FIRST_RETRY_SECONDS = 0.1
_LAST_RETRY_SECONDS = 5.0


class Recorder:
    """`begin()` and `record()` can be called from any thread and never block; `sink` is called from one thread only.

    With a spool, a record is in its file when `record()` returns, and goes to the sink from there. Without one, or
    when the write fails (a full disk), it waits in memory; records beyond `max_pending` are dropped and counted in
    `dropped`. A batch whose sink raises is retried, with back-off, until the sink accepts it or `close()` gives up:
    the rest then stays in the spool.
    """

    def __init__(self, sink: Sink, *, max_pending: int = MAX_PENDING) -> None:
        # The prefix of this process's request ids: unique without a system call for each.
        self.id = secrets.token_hex(8)
        self.dropped = 0
        # Records that waited in memory because the write to the file failed.
        self.unspooled = 0
        # The number of all records, and the highest number that the sink received.
        self.recorded = 0
        self.delivered = 0
        self.spool: Spool | None = None
        self._header = Header(self.id, "", os.getpid(), time.time())
        self._sink = sink
        self._max_pending = max_pending
        self._pending: deque[tuple[int, AccessRecord]] = deque()
        self._batch: list[tuple[int, AccessRecord]] = []
        self._numbers = count(1)
        self._since_batch = 0
        self._changed = threading.Condition()
        self._flushing = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def open(self, folder: Path, *, node: str) -> None:
        """Keep records in a spool from now on, or in memory if that fails; call it in the process that records."""
        self.id = secrets.token_hex(8)
        self._header = Header(self.id, node, os.getpid(), time.time())
        try:
            self.spool = Spool(folder, self._header)
        except OSError:
            self.unspooled += 1
            logger.exception("The access log's spool cannot be created: records wait in memory only.")

    def origin(self) -> Origin:
        """The counters of this process, for the batch that is being delivered."""
        header = self._header
        return Origin(
            self.id,
            header.node,
            header.pid,
            header.started_at,
            recorded=self.delivered,
            unspooled=self.unspooled,
            dropped=self.dropped,
        )

    def begin(self, record: AccessRecord, **known: Any) -> None:
        """Marks a request, so that it has a row even if this process is killed. `known`: `spool_format.mark_line`."""
        if self.spool is not None:
            self.spool.begin(record.request_id, spool_format.mark_line(record, **known))

    def record(self, record: AccessRecord) -> None:
        """Accepts one record. Its effects on other threads are atomic, so the usual case needs no lock."""
        number = self.recorded = next(self._numbers)
        if self.spool is None or not self._spooled(self.spool, number, record):
            if len(self._pending) >= self._max_pending or self._closing:
                self.dropped += 1
                return
            self._pending.append((number, record))
        self._since_batch += 1
        if self._thread is None:
            self._start()
        elif self._since_batch == BATCH_SIZE:
            with self._changed:
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until the sink has stored everything; False when `timeout` seconds were not enough."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(self._is_empty, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Flushes and ends the thread. Records that are not stored stay in the spool; without one they are dropped."""
        self.flush(timeout)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        left = len(self._pending) + len(self._batch)
        if left:
            self.dropped += left
            logger.error("%d access records could not be stored before the end and are lost.", left)
        if self.spool is not None and (self._thread is None or not self._thread.is_alive()):
            self.spool.close()

    def _spooled(self, spool: Spool, number: int, record: AccessRecord) -> bool:
        if spool.append(number, record):
            return True
        if not self.unspooled:
            logger.error("Writing to the access log's spool fails; records wait in memory.")
        self.unspooled += 1
        return False

    def _start(self) -> None:
        # Started by the first record, not by the constructor: a server can fork in between.
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access-recorder", daemon=True)
                self._thread.start()

    def _is_empty(self) -> bool:
        return not self._pending and not self._batch and not self._in_spool()

    def _in_spool(self) -> int:
        return self.spool.size if self.spool is not None else 0

    def _has_work(self) -> bool:
        return self._flushing or self._closing or self._since_batch >= BATCH_SIZE

    def _run(self) -> None:
        while not (self._closing and self._is_empty()):
            with self._changed:
                self._changed.wait_for(self._has_work, BATCH_SECONDS)
            self._since_batch = 0
            while self._send_spooled() or self._send_pending():
                pass
            if self._closing:
                return
            self._finish_flush()

    def _send_spooled(self) -> bool:
        """Delivers one batch of the spool; True when the spool can hold more."""
        if self.spool is None or not (data := self._read(self.spool)):
            return False
        found = spool_format.read(data)
        if found.bad:
            logger.error("%d damaged lines of the access log's spool are skipped.", len(found.bad))
        if not self._deliver(found.records, found.last):
            return False
        self.spool.commit(len(data))
        return True

    def _read(self, spool: Spool) -> bytes:
        try:
            return spool.read(_BATCH_BYTES)
        except OSError:
            logger.exception("The access log's spool cannot be read; trying again.")
            return b""

    def _send_pending(self) -> bool:
        if not self._batch:
            size = min(BATCH_SIZE, len(self._pending))
            self._batch = [self._pending.popleft() for _ in range(size)]
        if not self._batch:
            return False
        if not self._deliver([record for _, record in self._batch], self._batch[-1][0]):
            return False
        self._batch = []
        return True

    def _finish_flush(self) -> None:
        with self._changed:
            if self._is_empty():
                self._flushing = False
                self._changed.notify_all()

    def _deliver(self, records: list[AccessRecord], last: int) -> bool:
        """Retries the batch until it is stored; False when the recorder is closed first."""
        self.delivered = max(self.delivered, last)
        pause = _FIRST_RETRY_SECONDS
        while records:
            try:
                self._sink(records)
            except Exception:
                logger.exception("Storing %d access records failed; trying again.", len(records))
            else:
                break
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, pause):
                    return False
            pause = min(2 * pause, _LAST_RETRY_SECONDS)
        return True
