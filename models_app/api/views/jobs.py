"""Jobs."""

from __future__ import annotations

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.schema import ERRORS
from models_app.api.serializers.jobs import JobOutput
from models_app.api.views.base import ManagementView
from models_app.services import jobs


class JobDetail(ManagementView):
    @extend_schema(operation_id="get_job", tags=["jobs"], responses={200: JobOutput} | ERRORS)
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        """One job with its steps, progress, result or error."""
        return Response(JobOutput(jobs.get(job_id=job_id)).data)
