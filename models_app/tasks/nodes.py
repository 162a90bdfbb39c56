"""Drains nodes, and recovers the models of lost nodes."""

from __future__ import annotations

import threading

from celery import shared_task
from django.conf import settings

from models_app.services.jobs import jobs
from models_app.services.lifecycle import draining
from models_app.services.nodes import nodes as heartbeats
from models_app.services.runners import failover

# Set once this worker has queued the loads of its start: before, all models seem to be missing.
restored = threading.Event()
# The longest delay between the moment a node counts as lost and its recovery.
INTERVAL_SECONDS = 1.0


@shared_task(name="noa.drain_node")
def drain_node(job_id: str) -> None:
    with jobs.run(job_id=job_id, node=settings.NOA_NODE) as run:
        if run:
            draining.drain(run=run, name=run.job.subject)


def recover_lost() -> None:
    """End the instances of other nodes that are lost, and load what is missing. One of all workers runs this."""
    for row in heartbeats.lost(besides=settings.NOA_NODE):
        failover.node_lost(name=row.name)
    if restored.is_set():
        failover.place_missing()
