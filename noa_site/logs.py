"""The server's log on standard error: plain lines, or one JSON object per line."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from models_app.domain.records.refusals import Sampler
from models_app.domain.request_context import request_id

# Records of one kind in a minute, and kinds: a database that is away fails every request, each with a traceback.
_EACH, _KINDS = 60, 500

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escaped(text: str) -> str:
    """Escapes control characters: logged input cannot start a new line or control the terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class Plain(logging.Formatter):
    """Time, level, logger, message and request id; a traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = escaped(super().formatMessage(record))
        number = request_id.get()
        return f"{line} [{number}]" if number else line


def _request_id(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if number := request_id.get():
        event["request_id"] = number
    return event


def _dumped(event: Any, **_: Any) -> str:
    # JSON leaves some control characters unescaped.
    text = orjson.dumps(event, default=repr).decode()
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Json(structlog.stdlib.ProcessorFormatter):
    """One object per line: `timestamp`, `level`, `logger`, `event`, `request_id`, and `exception` (the traceback)."""

    def __init__(self) -> None:
        super().__init__(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=_dumped),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.ExtraAdder(),
                _request_id,
            ],
        )


class Bounded(logging.Filter):
    """Warnings and errors that clients can cause are bounded: `_EACH` of each kind in a minute.

    A kind is a logger with the unformatted message. The next record of a kind says how many were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sampler = Sampler(_EACH, _KINDS)
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = f"{record.name} {str(record.msg)[:200]}"
        for counted in self._sampler.ended(record.created):
            if len(self._left_out) < _KINDS:
                self._left_out[counted.source] = counted.count
        if not self._sampler.take(kind, record.created):
            return False
        if count := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} ({count} similar ones were left out before)", ()
        return True


def configuration(*, form: str, level: str) -> dict[str, Any]:
    """Django's setting `LOGGING`. `form` is `text` or `json`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": "noa_site.logs.Plain",
                "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
            },
            "json": {"()": "noa_site.logs.Json"},
        },
        "filters": {"bounded": {"()": "noa_site.logs.Bounded"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form, "filters": ["bounded"]}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "models_app": {"level": level},
            "noa_site": {"level": level},
            # Errors of clients are in their answers; the operator needs no warning.
            "django.request": {"level": "ERROR"},
            "django.security": {"level": "CRITICAL"},
            "uvicorn.error": {"level": "ERROR"},
        },
    }
