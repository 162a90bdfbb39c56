"""Password hashing: few at a time, and without a database connection. One takes a third of a second of a processor."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from models_app.domain.errors import Unavailable

# Processors of this process that hash at once: the others serve requests.
AT_ONCE = max(1, min(4, (os.cpu_count() or 1) // 2))
# Threads that wait for one of them, and for how long: beyond, an answer now is better than one after many seconds.
MAX_WAITING = 8
_WAIT_SECONDS = 5.0
_RETRY_SECONDS = 3


class Hashing:
    """Permits to hash."""

    def __init__(self, at_once: int, most_waiting: int, seconds: float) -> None:
        self._free = threading.Semaphore(at_once)
        self._places = threading.Semaphore(at_once + most_waiting)
        self._seconds = seconds

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Raises Unavailable when too many threads wait, or none ends in time."""
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            # It keeps its place in Django, which bounds the log-ins that wait here.
            if not connection.in_atomic_block:
                connection.close()
            if not self._free.acquire(timeout=self._seconds):
                raise _busy()
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._places.release()


def _busy() -> Unavailable:
    return Unavailable(
        "Too many passwords are being checked at the moment. Try again in a few seconds.",
        code="too_many_log_ins",
        retry_after=_RETRY_SECONDS,
    )


hashing = Hashing(AT_ONCE, MAX_WAITING, _WAIT_SECONDS)
"""The permits of this process."""


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's hasher: every password of NOA is hashed by it, at log-in as at a change of the password."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with hashing.permit():
            return super().encode(password, salt, iterations)
