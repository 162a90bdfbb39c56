"""Stores the texts of the requests that a rule has chosen, without delaying any request."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable

from models_app.domain.records.access import AccessRecord
from models_app.domain.traffic import texts
from models_app.domain.traffic.routing import Snapshot
from models_app.domain.traffic.texts import CapturedText, TextRule
from models_app.gateway.http.request_body import ParsedBody
from models_app.threads import QueueThread

logger = logging.getLogger(__name__)

Sink = Callable[[list[CapturedText]], None]

# Texts are a sample: while the database is unavailable, further ones are dropped and counted.
_MAX_WAITING = 200


class Captured:
    """The prompt, and the answer while it is forwarded."""

    __slots__ = ("answer", "is_cut", "prompt", "rule")

    def __init__(self, rule: TextRule, raw: bytes) -> None:
        self.rule = rule
        self.prompt = raw[: rule.max_bytes]
        self.answer = bytearray()
        self.is_cut = len(raw) > rule.max_bytes

    def take(self, data: bytes) -> None:
        room = self.rule.max_bytes - len(self.answer)
        self.answer += data[:room]
        if len(data) > room:
            self.is_cut = True


class Texts:
    """`keep()` can be called from any thread and never blocks; `sink` is called from one thread only.

    Texts whose sink raises are dropped, and counted in `dropped`.
    """

    def __init__(self, sink: Sink) -> None:
        self.dropped = 0
        self._sink = sink
        self._thread: QueueThread[CapturedText] = QueueThread("access-texts", self._store, _MAX_WAITING)

    def begin(self, snapshot: Snapshot, record: AccessRecord, body: ParsedBody) -> Captured | None:
        """Starts to capture a request; None if no rule has chosen it."""
        resolution = snapshot.resolve(body.model)
        rule = texts.chosen(
            snapshot.text_rules,
            key_id=record.key_id,
            route=(resolution.route if resolution else None) or "",
            chance=random.random(),
        )
        return None if rule is None else Captured(rule, body.raw)

    def keep(self, record: AccessRecord, captured: Captured) -> None:
        text = CapturedText(
            record.request_id,
            record.started_at,
            record.key_id,
            record.route,
            record.model_key,
            captured.rule.days,
            captured.prompt,
            bytes(captured.answer),
            captured.is_cut,
        )
        if not self._thread.put(text):
            self.dropped += 1

    def close(self, timeout: float = 5.0) -> None:
        """Waits until everything is stored, at most `timeout` seconds."""
        self._thread.close(timeout)

    def _store(self, text: CapturedText) -> None:
        stored = False
        # No traceback: a database error quotes the refused row, which must not be in a log.
        with contextlib.suppress(Exception):
            self._sink([text])
            stored = True
        if not stored:
            self.dropped += 1
            logger.error("The texts of request %s could not be stored.", text.request_id)
