"""Sends finished requests as traces to an OTLP receiver, from a thread of its own."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Sequence
from http.client import HTTPException
from urllib.request import Request, urlopen

from django.conf import settings

from models_app.domain.records import otlp
from models_app.domain.records.access import AccessRecord

logger = logging.getLogger(__name__)

# Batches of up to 500. Traces are for looking at: while the receiver is away, what is beyond is dropped and counted.
_MAX_WAITING = 20
_POST_SECONDS = 5.0


class Tracer:
    """`take()` never blocks. `endpoint` is the receiver's base address, as OTEL_EXPORTER_OTLP_ENDPOINT is."""

    def __init__(self, endpoint: str) -> None:
        self.sent = 0
        self.dropped = 0
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._resource = {
            "service.name": "noa",
            "service.instance.id": settings.NOA_NODE,
            "host.name": socket.gethostname(),
        }
        self._queue: queue.Queue[Sequence[AccessRecord] | None] = queue.Queue(_MAX_WAITING)
        self._thread: threading.Thread | None = None

    def take(self, records: Sequence[AccessRecord]) -> None:
        try:
            self._queue.put_nowait(records)
        except queue.Full:
            self.dropped += len(records)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (records := self._queue.get()) is not None:
            try:
                self._post(otlp.body(records, self._resource))
            except (OSError, HTTPException) as error:
                self.dropped += len(records)
                logger.warning("Traces could not be sent to %s: %s", self._url, error)
            else:
                self.sent += len(records)

    def _post(self, body: bytes) -> None:
        request = Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        # The operator's own setting names the address, and its scheme is checked there.
        with urlopen(request, timeout=_POST_SECONDS) as answer:
            answer.read()
