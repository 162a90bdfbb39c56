"""Hands the batches of one web process to the access log, and reports lost records."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.db import connection

from models_app.domain.records.access import AccessRecord, Origin
from models_app.services.access_log import faults, store
from models_app.services.access_log.tracing import Tracer


class Shipper:
    """The recorder's sink; its thread holds no connection between batches.

    `origin` returns the counts of the process.
    """

    def __init__(self, origin: Callable[[], Origin]) -> None:
        self._origin = origin
        receiver = settings.NOA_TRACE_RECEIVER
        self._tracer = Tracer(receiver) if receiver else None
        self._dropped = 0
        self._unspooled = 0

    def __call__(self, records: list[AccessRecord]) -> None:
        origin = self._origin()
        try:
            store.store(records, origin)
            self._report(origin)
        finally:
            connection.close()
        if self._tracer is not None and records:
            self._tracer.take(records)

    def close(self) -> None:
        """Send the last traces."""
        if self._tracer is not None:
            self._tracer.close()

    def _report(self, origin: Origin) -> None:
        if origin.unspooled > self._unspooled:
            faults.report(
                "spool_unwritable",
                f"{origin.unspooled} access records did not fit into the spool file and waited in memory:"
                " a kill of the server would have lost them. Free space on the disk of NOA_DATA_DIR.",
                count=origin.unspooled,
            )
        if origin.dropped > self._dropped:
            faults.report(
                "records_dropped",
                f"{origin.dropped} access records are lost: neither the spool file nor memory had room for them.",
                count=origin.dropped,
            )
        self._unspooled, self._dropped = origin.unspooled, origin.dropped
