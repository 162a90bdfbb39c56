"""The quarantine file: access records that the database refuses and damaged spool lines, counted and kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.utils import timezone

from models_app.domain.records.access import AccessRecord
from models_app.services.access_log import faults

logger = logging.getLogger(__name__)


def path() -> Path:
    return folder() / "quarantine.jsonl"


def folder() -> Path:
    """The folder of the spools of this machine's web processes."""
    return Path(settings.NOA_DATA_DIR) / "spool"


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def put_record(record: AccessRecord, error: Exception) -> None:
    """Keep a record that the database refused."""
    _put(f"{type(error).__name__}: {error}"[:500], record=record)
    _report("record_refused", 1, f"The database refused an access record ({type(error).__name__}).")


def put_lines(lines: Sequence[bytes], source: str) -> None:
    """Keep damaged lines of a spool, unchanged."""
    for line in lines:
        _put(f"damaged line of {source}", line=line.decode("latin-1"))
    _report("spool_damaged", len(lines), f"{len(lines)} lines of {source} are damaged.")


def _report(fault: str, count: int, what: str) -> None:
    logger.error("%s Kept in %s.", what, path())
    faults.report(fault, f"{what} The data is kept in {path()}.", count=count)


def _put(reason: str, **what: Any) -> None:
    entry = {"at": timezone.now(), "reason": reason} | what
    try:
        text = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE, default=repr)
    except TypeError:  # lone surrogates, oversized numbers
        text = orjson.dumps(
            {"at": timezone.now(), "reason": ascii(reason), "repr": ascii(what)},
            option=orjson.OPT_APPEND_NEWLINE,
        )
    try:
        path().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path(), "ab", opener=_private) as file:
            file.write(text)
    except OSError:
        logger.exception("The quarantine file cannot be written; the refused record is in this log.")
        logger.error("%s", text.decode())
