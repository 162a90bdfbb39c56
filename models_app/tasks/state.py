"""The task that restores a snapshot."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.services.desired_state import restoring
from models_app.services.jobs import jobs


@shared_task(name="noa.restore_state")
def restore_state(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            restoring.restore(
                run=run,
                name=run.job.arguments["snapshot"],
                unload_others=run.job.arguments["unload_others"],
            )
