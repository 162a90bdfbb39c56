"""The task that probes a model's capabilities."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.services.jobs import jobs
from models_app.services.profiling import probing


@shared_task(name="noa.probe_capabilities")
def probe_capabilities(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            probing.probe(
                run=run,
                key=run.job.subject,
                wanted=run.job.arguments["capabilities"],
                effective_context=run.job.arguments["effective_context"],
            )
