"""Jobs: listed, followed, cancelled."""

from __future__ import annotations

import uuid

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import answers, query
from models_app.api.authentication import actor_of
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.inputs import NoInput
from models_app.api.serializers.jobs import JobListOutput, JobOutput, represent_job
from models_app.api.views.base import ManagementView
from models_app.domain.states import JobKind, JobState
from models_app.models import Job
from models_app.services.jobs import jobs

_TEXT = query.text_schema()


class JobList(ManagementView):
    @extend_schema(
        operation_id="list_jobs",
        tags=["jobs"],
        parameters=[
            OpenApiParameter("kind", str, enum=list(JobKind), description="Of this kind."),
            OpenApiParameter(
                "state",
                str,
                many=True,
                enum=list(JobState),
                description="In one of these states; repeatable.",
            ),
            OpenApiParameter("subject", _TEXT, description="About this model key, route or provider."),
            OpenApiParameter("actor", _TEXT, description="Asked for by this user or key."),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this time."),
            *NEWEST_FIRST,
        ],
        responses={200: JobListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """All jobs, the newest first."""
        query.refuse_unknown(request, ("kind", "state", "subject", "actor", "since", "limit", "before"))
        chosen = {
            "kind": query.choice(request, "kind", list(JobKind)),
            "state__in": query.choices(request, "state", list(JobState)) or None,
            "subject": query.text(request, "subject"),
            "actor": query.text(request, "actor"),
            "created_at__gte": query.moment(request, "since"),
        }
        rows = Job.objects.filter(**{name: value for name, value in chosen.items() if value is not None})
        return newest_first(request, rows, word="jobs", represent=represent_job, by="created_at")


class JobDetail(ManagementView):
    @extend_schema(operation_id="get_job", tags=["jobs"], responses={200: JobOutput} | ERRORS)
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        """One job with its steps, progress, result or error."""
        return Response(represent_job(jobs.get(job_id=job_id)))


class JobCancel(ManagementView):
    @extend_schema(
        operation_id="cancel_job",
        tags=["jobs"],
        request=None,
        parameters=answers.WAIT,
        responses=answers.JOB_RESPONSES,
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        """End a job and take back what it did: a cancelled load leaves nothing behind.

        A job that waits for a worker ends at once (200); a running one within a second (202, or 200 with `wait`).
        """
        query.refuse_unknown(request, ("wait",))
        NoInput(data=request.data).is_valid(raise_exception=True)
        job = jobs.cancel(job_id=job_id, actor=actor_of(request))
        answers.note_job(request, job)
        seconds = answers.seconds_to_wait(request)
        return answers.represented(jobs.wait(job_id=job.pk, seconds=seconds) if seconds else job)
