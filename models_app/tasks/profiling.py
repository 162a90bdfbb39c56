"""The task that measures a model."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.services.jobs import jobs
from models_app.services.profiling import profiling


@shared_task(name="noa.profile_model")
def profile_model(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            profiling.profile(
                run=run,
                key=run.job.subject,
                wanted=profiling.settings_from(run.job.arguments),
            )
