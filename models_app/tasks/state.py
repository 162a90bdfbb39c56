"""The task that restores a snapshot."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.services import jobs, restoring


@shared_task(name="noa.restore_state")
def restore_state(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            restoring.restore(
                run=run,
                name=run.job.arguments["snapshot"],
                unload_others=run.job.arguments["unload_others"],
            )
