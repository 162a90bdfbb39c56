"""Sends finished requests as traces to an OTLP receiver, from a separate thread."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from http.client import HTTPException
from urllib.request import Request, urlopen

from django.conf import settings

from models_app.domain.records import otlp
from models_app.domain.records.access import AccessRecord
from models_app.threads import QueueThread

logger = logging.getLogger(__name__)

# Batches of up to 500 records. Traces are for inspection: while the receiver is down, more are dropped and counted.
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
        self._batches = QueueThread[Sequence[AccessRecord]]("traces", self._send, _MAX_WAITING)

    def take(self, records: Sequence[AccessRecord]) -> None:
        if not self._batches.put(records):
            self.dropped += len(records)

    def close(self, timeout: float = 5.0) -> None:
        """Send what is queued, for at most `timeout` seconds."""
        self._batches.close(timeout)

    def _send(self, records: Sequence[AccessRecord]) -> None:
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
