"""Tasks that load, unload and switch. A message carries only the id of the job's row."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from models_app.domain.catalog.options import LoadOptions
from models_app.services.jobs import jobs
from models_app.services.lifecycle import loading, switching, unloading


@shared_task(name="noa.load_model")
def load_model(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            options = LoadOptions.parse(run.job.arguments["options"])
            loading.load(run=run, key=run.job.subject, options=options)


@shared_task(name="noa.unload_model")
def unload_model(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            unloading.unload(run=run, key=run.job.subject)


@shared_task(name="noa.switch_model")
def switch_model(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            switching.switch(
                run=run,
                key=run.job.arguments["key"],
                route_name=run.job.subject,
                keep_previous=run.job.arguments["keep_previous"],
                force=run.job.arguments.get("force", False),
            )
