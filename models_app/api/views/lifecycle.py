"""Verbs that take time: they answer with a job."""

from __future__ import annotations

import re
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.authentication import actor_of
from models_app.api.schema import ERRORS
from models_app.api.serializers.jobs import JobOutput
from models_app.api.serializers.lifecycle import LoadInput, SwitchInput, UnloadInput
from models_app.api.views.base import ManagementView
from models_app.domain.errors import InvalidRequest, NoaError
from models_app.domain.states import TERMINAL_JOB_STATES, JobState
from models_app.models import Job
from models_app.services import jobs, requests
from models_app.tasks import queueing

# A longer wait would meet the time-outs of proxies on the way.
MAX_WAIT = 300.0
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d+(?:\.\d+)?)")

_WAIT = [
    OpenApiParameter(
        "wait",
        float,
        description="Wait up to so many seconds for the end of the job, then answer 200.",
    ),
    OpenApiParameter(
        "Prefer", str, OpenApiParameter.HEADER, description="`wait=30` does the same as `?wait=30`."
    ),
]
_RESPONSES: dict[int, Any] = {200: JobOutput, 202: JobOutput} | ERRORS


def answer_with_job(request: Request, job: Job, *, created: bool) -> Response:
    """202 and the job at once; 200 and its end when the caller waits and it ends well.

    A job that fails while the caller waits is answered with its own error.
    """
    if created:
        queueing.enqueue(job)
    seconds = _seconds_to_wait(request)
    if seconds:
        job = jobs.wait(job_id=job.pk, seconds=seconds)
    if job.state == JobState.FAILED:
        raise _JobFailed(job)
    status = 200 if job.state in TERMINAL_JOB_STATES else 202
    location = reverse("api:job", kwargs={"job_id": job.pk})
    return Response(JobOutput(job).data, status=status, headers={"Location": location})


class _JobFailed(NoaError):
    """The request was fine and the work failed: the job tells why."""

    http_status = 409

    def __init__(self, job: Job) -> None:
        details = {"job": str(job.pk), "kind": job.kind, "subject": job.subject}
        super().__init__(job.error_message, code=job.error_code, details=details)


def _seconds_to_wait(request: Request) -> float:
    text = request.query_params.get("wait")
    if text is None:
        found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
        text = found.group(1) if found else "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidRequest(
            f"'wait' must be a number of seconds from 0 to {MAX_WAIT:g}.", param="wait"
        )
    return seconds


class Load(ManagementView):
    @extend_schema(
        operation_id="load_model",
        tags=["lifecycle"],
        request=LoadInput,
        parameters=_WAIT,
        responses=_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Load a model. Many who ask for the same at once share one job; a loaded model stays as it is."""
        body = LoadInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = requests.request_load(
            key=body.validated_data["key"],
            options=body.validated_data["options"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)


class Unload(ManagementView):
    @extend_schema(
        operation_id="unload_model",
        tags=["lifecycle"],
        request=UnloadInput,
        parameters=_WAIT,
        responses=_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Let the requests in flight end, then stop the model's runner."""
        body = UnloadInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = requests.request_unload(
            key=body.validated_data["key"], actor=actor_of(request)
        )
        return answer_with_job(request, job, created=created)


class Switch(ManagementView):
    @extend_schema(
        operation_id="switch_model",
        tags=["lifecycle"],
        request=SwitchInput,
        parameters=_WAIT,
        responses=_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Move a route (`current`) to another model without a failed request.

        The new model is started beside the old and warmed, then the route moves in one transaction, then the old
        model drains. If the new one cannot be loaded the old keeps serving and the job says why.
        """
        body = SwitchInput(data=request.data)
        body.is_valid(raise_exception=True)
        job, created = requests.request_switch(
            key=body.validated_data["key"],
            route=body.validated_data["route"],
            keep_previous=body.validated_data["keep_previous"],
            actor=actor_of(request),
        )
        return answer_with_job(request, job, created=created)


class Discover(ManagementView):
    @extend_schema(
        operation_id="discover_models",
        tags=["lifecycle"],
        request=None,
        parameters=_WAIT,
        responses=_RESPONSES,
    )
    def post(self, request: Request) -> Response:
        """Look through the model folders. The job's result says what is new, changed, unchanged and refused."""
        job, created = requests.request_discover(actor=actor_of(request))
        return answer_with_job(request, job, created=created)
