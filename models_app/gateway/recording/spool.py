"""The file that keeps access records until they are in the database: it survives the process that wrote it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import secrets
import threading
from collections import deque
from pathlib import Path

from models_app.domain.records import spool_format
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.spool_format import Header

logger = logging.getLogger(__name__)

# Recovery looks up the records of a killed process in the database: some 10,000 per segment, in about a second.
SEGMENT_BYTES = 4 * 1024 * 1024
# With the GIL held: Python's own os.write releases it, and beside a busy thread waits up to 5 ms to get it back, for a
# call that copies 400 bytes into the page cache in a microsecond.
_write = ctypes.PyDLL(None, use_errno=True).write
_write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_write.restype = ctypes.c_ssize_t


class _Segment:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.size = 0
        self.read_to = 0

    def append(self, data: bytes) -> bool:
        """Writes all of `data` or nothing. Data in the page cache survives the process, not a power cut."""
        written = _write(self.file, data, len(data))
        if written == len(data):
            self.size += written
            return True
        if written > 0:
            # A partial line would damage the one that follows it.
            os.ftruncate(self.file, self.size)
        return False

    def remove(self) -> None:
        os.close(self.file)
        self.path.unlink(missing_ok=True)


class Spool:
    """Segments `<name>.<number>.log` in a folder, and `<name>.lock`, which is locked while their writer is alive.

    `begin` and `append` can be called from any thread and never raise; `read` and `commit` from one thread only.
    """

    def __init__(self, folder: Path, header: Header, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises OSError when it cannot create a file in `folder`."""
        self._folder = folder
        self._header = spool_format.header_line(header)
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        # Marks of requests that have not ended, each to be repeated in the next segment.
        self._open: dict[str, bytes] = {}
        self._segments: deque[_Segment] = deque()
        self._number = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = f"access-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock_path = folder / f"{self._name}.lock"
        self._lock_file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            self._segments.append(self._new_segment())
        except OSError:
            self._end_lock()
            raise

    @property
    def size(self) -> int:
        """Bytes that are not confirmed to be in the database."""
        return sum(segment.size - segment.read_to for segment in list(self._segments))

    def begin(self, request_id: str, line: bytes) -> bool:
        """Marks a request: if this process is killed before its record is written, recovery stores a row for it."""
        with self._lock:
            self._open[request_id] = line
            return self._put(line)

    def append(self, number: int, record: AccessRecord) -> bool:
        """False when the write fails: the disk is full, or the file has reached a limit."""
        try:
            line = spool_format.record_line(number, record)
        except TypeError:  # a number of more than 64 bits
            return False
        with self._lock:
            self._open.pop(record.request_id, None)
            return self._put(line)

    def read(self, most: int) -> bytes:
        """Whole lines that were not committed, at most about `most` bytes; empty when there are none."""
        while True:
            segment, is_last = self._segments[0], len(self._segments) == 1
            if segment.read_to < segment.size:
                data = os.pread(segment.file, min(most, segment.size - segment.read_to), segment.read_to)
                end = data.rfind(b"\n") + 1
                if end:
                    return data[:end]
                most *= 2
            elif is_last:
                return b""
            else:
                self._drop_first()

    def commit(self, count: int) -> None:
        """Marks the first `count` bytes of the last `read` as stored in the database."""
        self._segments[0].read_to += count

    def close(self) -> None:
        """Removes the files if everything was committed; otherwise they stay for recovery by another process."""
        with self._lock:
            if self.size or self._open:
                for segment in self._segments:
                    os.close(segment.file)
                os.close(self._lock_file)
            else:
                for segment in self._segments:
                    segment.remove()
                self._end_lock()
            self._segments.clear()

    def _put(self, line: bytes) -> bool:
        if not self._segments:
            return False
        if self._segments[-1].size >= self._segment_bytes:
            self._rotate()
        return self._segments[-1].append(line)

    def _rotate(self) -> None:
        try:
            self._segments.append(self._new_segment())
        except OSError:
            logger.warning(
                "The access log's spool cannot begin a new file and continues in the old one.", exc_info=True
            )

    def _new_segment(self) -> _Segment:
        self._number += 1
        segment = _Segment(self._folder / f"{self._name}.{self._number:06}.log")
        if not segment.append(b"".join([self._header, *self._open.values()])):
            segment.remove()
            raise OSError(ctypes.get_errno(), "the spool's header cannot be written", str(segment.path))
        segment.read_to = len(self._header)
        return segment

    def _drop_first(self) -> None:
        with self._lock:
            segment = self._segments.popleft()
        with contextlib.suppress(OSError):
            segment.remove()

    def _end_lock(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock_file)
