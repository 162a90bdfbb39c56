"""Reconciles the access log: the counts of each web process against the stored rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db.models import Count
from django.db.models.functions import Substr
from django.utils import timezone

from models_app.domain.records import spool_format
from models_app.models import AccessLog, GatewayProcess
from models_app.services.access_log import quarantine

# Of a recorder's id, the prefix of its request ids.
_ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Account:
    """One web process. `recorded` = `stored` + `waiting` + `dropped` + `quarantined` + `missing`, and `missing` is 0.

    recorded  requests that it answered, by its own count
    rows      counted in the log now: `stored` and `cut_off`, until retention deletes some
    waiting   in its spool file on this machine
    cut_off   rows of requests that were in progress when it was killed; not in `recorded`
    """

    recorder: str
    node: str
    pid: int | None
    started_at: datetime
    seen_at: datetime
    recovered: bool
    recorded: int
    stored: int
    rows: int
    waiting: int
    dropped: int
    quarantined: int
    cut_off: int

    @property
    def missing(self) -> int:
        return self.recorded - self.stored - self.waiting - self.dropped - self.quarantined


def accounts(*, since: datetime | None = None) -> list[Account]:
    """Every web process that shipped records since then (by default in the last day), the newest first.

    Reads the log's rows since the oldest process began: meant for a check, not for a dashboard.
    """
    start = since or timezone.now() - timedelta(days=1)
    processes = list(GatewayProcess.objects.filter(seen_at__gte=start))
    rows = _rows(min((process.started_at for process in processes), default=start))
    waiting = _waiting(quarantine.folder())
    return [_account(item, rows.get(item.recorder, 0), waiting.get(item.recorder, 0)) for item in processes]


def _account(process: GatewayProcess, rows: int, last: int) -> Account:
    recorded = max(process.recorded, last)
    known = process.stored + process.dropped + process.quarantined
    return Account(
        recorder=process.recorder,
        node=process.node,
        pid=process.pid,
        started_at=process.started_at,
        seen_at=process.seen_at,
        recovered=process.recovered,
        recorded=recorded,
        stored=process.stored,
        rows=rows,
        waiting=max(0, last - known),
        dropped=process.dropped,
        quarantined=process.quarantined,
        cut_off=process.cut_off,
    )


def _rows(since: datetime) -> dict[str, int]:
    found = (
        AccessLog.objects.filter(started_at__gte=since - timedelta(minutes=1))
        .order_by()
        .annotate(recorder=Substr("request_id", 1, _ID_LENGTH))
        .values_list("recorder")
        .annotate(count=Count("pk"))
    )
    return dict(found)


def _waiting(folder: Path) -> dict[str, int]:
    """The highest record number in the spools on this machine, by recorder."""
    found: dict[str, int] = {}
    for header, last in _spools(folder):
        found[header.recorder] = max(found.get(header.recorder, 0), last)
    return found


def _spools(folder: Path) -> Iterable[tuple[spool_format.Header, int]]:
    for path in folder.glob("access-*.log"):
        try:
            found = spool_format.read(path.read_bytes())
        except FileNotFoundError:  # shipped at this moment
            continue
        if found.header is not None:
            yield found.header, found.last
