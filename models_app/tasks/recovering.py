"""Loads models again that have died, on threads of the worker's own: a recovery needs neither a broker nor a free place."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connection

from models_app.models import Job
from models_app.services.runners import recovery
from models_app.tasks import lifecycle

# The shortest pause that the policy makes: a death stirs the look at once.
LOOK_SECONDS = 1.0


def look() -> None:
    """Begin every recovery that is due."""
    for job in recovery.due():
        threading.Thread(target=_run, args=(job,), name=f"recovery-{job.subject}"[:40], daemon=True).start()


def on_job_finished(job: Job, **_: Any) -> None:
    recovery.attempted(job=job)


def _run(job: Job) -> None:
    try:
        lifecycle.load_model(str(job.pk))
    finally:
        connection.close()
