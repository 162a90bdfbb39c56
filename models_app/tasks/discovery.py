"""The task that discovers models."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.services.jobs import jobs
from models_app.services.registry import discovery


@shared_task(name="noa.discover_models")
def discover_models(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            discovery.discover(run=run, provider=run.job.arguments.get("provider"))
