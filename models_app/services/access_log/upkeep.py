"""Periodic work of workers on the access log and its roll-ups."""

from __future__ import annotations

from models_app.services.access_log import retention, spools, texts
from models_app.services.rollups import live_metrics

# Delay until the spool of a killed web process is in the log.
SPOOL_SECONDS = 5.0
RETENTION_SECONDS = 600.0


def recover_spools() -> None:
    """Ship the spools of dead web processes of this machine."""
    spools.recover()


def retain() -> None:
    """Delete what has passed its retention time."""
    live_metrics.delete_old()
    retention.access_log()
    texts.delete_old()
