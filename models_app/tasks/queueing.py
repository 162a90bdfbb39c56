"""Hands jobs to workers."""

from __future__ import annotations

from models_app.domain.states import JobKind
from models_app.models import Job
from models_app.tasks import discovery, lifecycle, probing, profiling, state

_TASKS = {
    JobKind.LOAD: lifecycle.load_model,
    JobKind.UNLOAD: lifecycle.unload_model,
    JobKind.SWITCH: lifecycle.switch_model,
    JobKind.DISCOVER: discovery.discover_models,
    JobKind.PROBE: probing.probe_capabilities,
    JobKind.PROFILE: profiling.profile_model,
    JobKind.RESTORE: state.restore_state,
}


def enqueue(job: Job) -> None:
    """Send a queued job's message, after the transaction that created the job."""
    _TASKS[JobKind(job.kind)].delay_on_commit(str(job.pk))
