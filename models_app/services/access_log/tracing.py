"""Sends finished requests as traces to an OTLP receiver, from a separate thread."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from django.conf import settings

from models_app.domain.records import otlp, otlp_receiver
from models_app.domain.records.access import AccessRecord
from models_app.domain.records.otlp_receiver import MAX_ATTEMPTS, RETRIED, Receiver
from models_app.threads import QueueThread

logger = logging.getLogger(__name__)

# Batches of up to 500 records. Traces are for inspection: while the receiver is down, more are dropped and counted.
_MAX_WAITING = 20
_POST_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0


class _NoRedirects(HTTPRedirectHandler):
    """A redirect is an error: the headers hold credentials, which belong to the receiver alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        return None


class Tracer:
    """`take()` never blocks. A batch is sent up to `MAX_ATTEMPTS` times, while others wait behind it."""

    def __init__(self, receiver: Receiver, *, first_pause: float = _FIRST_PAUSE_SECONDS) -> None:
        self.sent = 0
        self.dropped = 0
        self._receiver = receiver
        self._first_pause = first_pause
        self._opener = build_opener(_NoRedirects)
        self._closing = threading.Event()
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
        """Send what is queued, each batch once more, for at most `timeout` seconds."""
        self._closing.set()
        self._batches.close(timeout)

    def _send(self, records: Sequence[AccessRecord]) -> None:
        traced = [record for record in records if record.is_sampled]
        if not traced:
            return
        request = self._request(otlp.body(traced, self._resource))
        attempt = 1
        while (failure := self._post(request)) is not None:
            error, retry_after = failure
            is_final = isinstance(error, HTTPError) and error.code not in RETRIED
            if is_final or attempt >= MAX_ATTEMPTS or self._closing.is_set():
                self.dropped += len(traced)
                logger.warning("Traces could not be sent to %s: %s", self._receiver.url, error)
                return
            self._closing.wait(
                otlp_receiver.pause(attempt, self._first_pause, retry_after, datetime.now(UTC)),
            )
            attempt += 1
        self.sent += len(traced)

    def _request(self, body: bytes) -> Request:
        headers = {**self._receiver.headers, "Content-Type": "application/json"}
        if self._receiver.compresses:
            body = gzip.compress(body, 6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return Request(self._receiver.url, body, headers, method="POST")

    def _post(self, request: Request) -> tuple[Exception, str | None] | None:
        """The failure of one attempt, with the receiver's `Retry-After`; None if it has the traces."""
        try:
            # The operator's own setting names the address, and its scheme is checked there.
            with self._opener.open(request, timeout=_POST_SECONDS) as answer:
                answer.read()
        except HTTPError as error:
            error.close()
            return error, error.headers.get("Retry-After")
        except (OSError, HTTPException) as error:
            return error, None
        return None
