"""Responses of operations that run as jobs: the job, at once or when it has ended."""

from __future__ import annotations

import re
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.schema import ERRORS
from models_app.api.serializers.jobs import JobOutput, represent_job
from models_app.domain.errors import InvalidRequest, NoaError
from models_app.domain.states import TERMINAL_JOB_STATES, JobState
from models_app.models import Job
from models_app.services.coordination import idempotency
from models_app.services.jobs import waiting
from models_app.tasks import queueing

# A longer wait would exceed the time-outs of proxies.
MAX_WAIT = 300.0
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d+(?:\.\d+)?)")

WAIT = [
    OpenApiParameter(
        "wait",
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
        description="Wait for the end of the job, at most this many seconds; then answer 200.",
    ),
    OpenApiParameter(
        "Prefer",
        str,
        OpenApiParameter.HEADER,
        description="`wait=30` does the same as `?wait=30`; other preferences are ignored.",
    ),
]
JOB_RESPONSES: dict[int, Any] = {200: JobOutput, 202: JobOutput} | ERRORS


def answer_with_job(request: Request, job: Job, *, created: bool) -> Response:
    """The response with the job: 200 if it succeeds while the caller waits, otherwise 202 with its present state.

    Raises the job's own error when it has failed or was cancelled by then.
    """
    seconds = seconds_to_wait(request)
    link_job(request, job)
    if created:
        queueing.enqueue(job)
    if seconds:
        job = waiting.wait(job_id=job.pk, seconds=seconds)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        raise _JobFailed(job)
    return represented(job)


def represented(job: Job) -> Response:
    """The job as it is: 200 when it has ended, 202 while it runs."""
    status = 200 if job.state in TERMINAL_JOB_STATES else 202
    location = reverse("api:job", kwargs={"job_id": job.pk})
    return Response(represent_job(job), status=status, headers={"Location": location})


def link_job(request: Request, job: Job) -> None:
    """Attach the job to the audit row and to the idempotency key, for a repeated request."""
    request.noa_job_id = job.pk  # type: ignore[attr-defined]
    row = getattr(request, "noa_idempotency", None)
    if row is not None and row.job_id is None:
        idempotency.link(row=row, job=job)


class _JobFailed(NoaError):
    """A valid request whose job failed or was cancelled; code and message are the job's."""

    http_status = 409

    def __init__(self, job: Job) -> None:
        details = {"job": str(job.pk), "kind": job.kind, "subject": job.subject}
        super().__init__(job.error_message, code=job.error_code, details=details)


def seconds_to_wait(request: Request) -> float:
    """The value of `?wait=` or `Prefer: wait=`; 0 without them. Raises InvalidRequest."""
    text = request.query_params.get("wait")
    if text is None:
        found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
        text = found.group(1) if found else "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidRequest(f"'wait' must be a number of seconds from 0 to {MAX_WAIT:g}.", param="wait")
    return seconds
