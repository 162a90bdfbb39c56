"""Whether the access log is complete."""

from __future__ import annotations

from dataclasses import fields

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.schema import ERRORS
from models_app.api.serializers.access import ReportOutput
from models_app.api.views.base import ManagementView
from models_app.services.access_log import reconciling
from models_app.services.access_log.reconciling import Account

_FIELDS = (*(one.name for one in fields(Account)), "missing")


class AccessReport(ManagementView):
    @extend_schema(
        operation_id="get_access_report",
        tags=["statistics"],
        parameters=[OpenApiParameter("since", OpenApiTypes.DATETIME, description="24 hours ago if not given.")],
        responses={200: ReportOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """What each web process served, beside the rows that there are of it. Counts the log's rows: not for a dashboard."""
        query.refuse_unknown(request, ("since",))
        accounts = reconciling.accounts(since=query.moment(request, "since"))
        return Response(
            {
                "complete": not any(account.missing for account in accounts),
                "processes": [{name: getattr(account, name) for name in _FIELDS} for account in accounts],
            }
        )
