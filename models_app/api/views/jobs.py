"""Jobs: list, read, cancel."""

from __future__ import annotations

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import answers, query
from models_app.api.authentication import actor_of
from models_app.api.filtersets import JobFilters
from models_app.api.pagination import NewestFirst
from models_app.api.permissions import check_job
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.jobs import JobListOutput, JobOutput, represent_job
from models_app.api.views.base import ManagementViewSet
from models_app.models import Job
from models_app.services.jobs import jobs, waiting


class JobPages(NewestFirst):
    word = "jobs"
    ordering = "created_at"


class JobViewSet(ManagementViewSet):
    filterset_class = JobFilters
    pagination_class = JobPages
    lookup_url_kwarg = "job_id"
    lookup_value_converter = "uuid"

    @extend_schema(
        operation_id="list_jobs",
        summary="List jobs",
        tags=["jobs"],
        responses={200: JobListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All jobs, newest first."""
        return self.paginated(Job.objects.all(), represent_job)

    @extend_schema(
        operation_id="get_job",
        summary="Get a job",
        tags=["jobs"],
        responses={200: JobOutput} | ERRORS,
    )
    def retrieve(self, request: Request, job_id: uuid.UUID) -> Response:
        """One job with its steps, progress, result or error."""
        return Response(represent_job(jobs.get(job_id=job_id)))

    @extend_schema(
        operation_id="cancel_job",
        summary="Cancel a job",
        tags=["jobs"],
        request=None,
        parameters=answers.WAIT,
        responses=answers.JOB_RESPONSES,
    )
    @action(detail=True, methods=["post"], url_name="job-cancel")
    def cancel(self, request: Request, job_id: uuid.UUID) -> Response:
        """Cancel a job and undo what it did: a cancelled load leaves nothing behind.

        A queued job ends at once (200); a running one within about a second (202, or 200 with `wait`).
        """
        query.refuse_unknown(request, ("wait",))
        self.validated(NoInput)
        check_job(request, jobs.get(job_id=job_id))
        job = jobs.cancel(job_id=job_id, actor=actor_of(request))
        answers.link_job(request, job)
        seconds = answers.seconds_to_wait(request)
        return answers.represented(waiting.wait(job_id=job.pk, seconds=seconds) if seconds else job)
