"""Reloads models whose runner died, on threads of the worker: it needs neither a broker nor a free task slot."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connection

from models_app.models import Job
from models_app.services.runners import recovery
from models_app.tasks import lifecycle

# The shortest pause of the policy; a death triggers the task at once.
INTERVAL_SECONDS = 1.0


def start_due() -> None:
    """Start every recovery that is due."""
    for job in recovery.due():
        threading.Thread(target=_run, args=(job,), name=f"recovery-{job.subject}"[:40], daemon=True).start()


def on_job_finished(job: Job, **_: Any) -> None:
    recovery.attempted(job=job)


def _run(job: Job) -> None:
    try:
        lifecycle.load_model(str(job.pk))
    finally:
        connection.close()
