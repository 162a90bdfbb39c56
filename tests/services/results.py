"""Results of jobs."""

from __future__ import annotations

from typing import Any

from models_app.models import Job


def result_of(job: Job) -> dict[str, Any]:
    """The result of a job that must have one."""
    assert job.result is not None
    found: dict[str, Any] = job.result
    return found
