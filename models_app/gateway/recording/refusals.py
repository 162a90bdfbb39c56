"""Bounds the rows of requests that were refused before they reached a model: any client can send any number of them.

The first few of each address without a valid key, and of each key, have a record of their own in each minute. The
others are summed up: one record for each key, status and error code, whose `requests` is their number. A process that
is killed loses the sums of the present minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from models_app.domain.addresses import network_of
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.refusals import PERIOD_SECONDS, Sampler

# Records of one source in a minute, and the number of sources that have some.
_ANONYMOUS = (3, 8)
_OF_A_KEY = (60, 64)
# Different sums in a minute; refusals beyond them are summed up without their key and code.
_MAX_SUMS = 64

_Sum = tuple[str, int, str]


class Refusals:
    """Belongs to the event loop in which it gets its first record."""

    def __init__(self, record: Callable[[AccessRecord], None]) -> None:
        self._record = record
        self._sums: dict[_Sum, AccessRecord] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.clear()

    def clear(self) -> None:
        """Begin a new minute."""
        self._anonymous = Sampler(*_ANONYMOUS)
        self._keys = Sampler(*_OF_A_KEY)

    def take(self, record: AccessRecord) -> None:
        """Record one refused request, or add it to a sum."""
        now = time.time()
        if record.key_id:
            is_kept = self._keys.take(record.key_id, now)
        else:
            is_kept = self._anonymous.take(network_of(record.client) or "unix", now)
        if is_kept:
            self._record(record)
        else:
            self._add(record)

    def flush(self) -> None:
        """Record the sums. Called every minute in which there are some, and at the end of the process."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sums, self._sums = self._sums, {}
        for record in sums.values():
            record.duration_ms /= record.requests
            self._record(record)

    def _add(self, record: AccessRecord) -> None:
        key: _Sum = (record.key_id, record.status, record.error_code)
        if key not in self._sums and len(self._sums) >= _MAX_SUMS:
            key = ("", record.status // 100 * 100, "other")
        total = self._sums.get(key)
        if total is None:
            record.key_id, record.status, record.error_code = key
            record.client_request_id = record.end_user = record.session = record.tags = record.trace_id = ""
            self._sums[key] = record
        else:
            total.requests += 1
            total.duration_ms += record.duration_ms
            if total.client != record.client:
                total.client = ""
            if total.requested_model != record.requested_model:
                total.requested_model = ""
            if total.endpoint != record.endpoint:
                total.endpoint = "several"
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_SECONDS, self.flush)
