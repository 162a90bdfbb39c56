"""The models and routes that a job concerns."""

from __future__ import annotations

from models_app.domain.states import JobKind
from models_app.models import Job

_OF_ONE_MODEL = frozenset({JobKind.LOAD, JobKind.UNLOAD, JobKind.PROBE, JobKind.PROFILE})


def of(job: Job) -> tuple[str, ...] | None:
    """Model keys and route names; None when it concerns every model, as a discovery does."""
    if job.kind in _OF_ONE_MODEL:
        return (job.subject,)
    if job.kind == JobKind.SWITCH:
        return (job.subject, str(job.arguments["key"]))
    return None
