"""What workers do for the access log and its sums, again and again."""

from __future__ import annotations

from models_app.services.access_log import retention, spools, texts
from models_app.services.rollups import live_metrics

# What a killed web process left is in the log so soon after the next look.
SPOOL_SECONDS = 5.0
RETENTION_SECONDS = 600.0


def recover_spools() -> None:
    """Ship what web processes of this machine left that are dead."""
    spools.recover()


def retain() -> None:
    """Delete what is older than it has to be."""
    live_metrics.delete_old()
    retention.access_log()
    texts.delete_old()
