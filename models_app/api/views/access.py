"""The access log: its rows, stored prompts and answers, and the report on its completeness."""

from __future__ import annotations

from dataclasses import fields

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.filtersets import AccessFilters
from models_app.api.pagination import NewestFirst
from models_app.api.schema import ERRORS
from models_app.api.serializers.access import AccessListOutput, AccessOutput, ReportOutput, represent_access
from models_app.api.serializers.texts import TextsOutput, represent_texts
from models_app.api.views.base import ManagementViewSet
from models_app.models import AccessLog
from models_app.services.access_log import reconciling, search, texts
from models_app.services.access_log.reconciling import Account

_REPORTED = (*(field.name for field in fields(Account)), "missing")


class AccessPages(NewestFirst):
    word = "requests"


class AccessLogViewSet(ManagementViewSet):
    filterset_class = AccessFilters
    pagination_class = AccessPages
    list_name = "access-log"
    lookup_url_kwarg = "request_id"

    @extend_schema(
        operation_id="list_access_log",
        summary="List requests through the gateway",
        tags=["statistics"],
        responses={200: AccessListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """Requests through the gateway, newest first."""
        return self.paginated(AccessLog.objects.all(), represent_access)

    @extend_schema(
        operation_id="get_access_log",
        summary="Get a request through the gateway",
        tags=["statistics"],
        responses={200: AccessOutput} | ERRORS,
    )
    def retrieve(self, request: Request, request_id: str) -> Response:
        """One request through the gateway, by NOA's id or the client's `X-Request-ID`."""
        query.refuse_unknown(request, ())
        return Response(represent_access(search.get(request_id=request_id)))

    @extend_schema(
        operation_id="get_access_texts",
        summary="Get the stored prompt and answer of a request",
        tags=["texts"],
        responses={200: TextsOutput} | ERRORS,
    )
    @action(detail=True, url_name="access-texts")
    def texts(self, request: Request, request_id: str) -> Response:
        """The prompt and the answer of one request, by NOA's id, if a rule stored them."""
        query.refuse_unknown(request, ())
        return Response(represent_texts(texts.of_request(request_id=request_id)))

    @extend_schema(
        operation_id="get_access_report",
        summary="Reconcile the access log with the web processes",
        tags=["statistics"],
        parameters=[OpenApiParameter("since", OpenApiTypes.DATETIME, description="By default 24 hours ago.")],
        responses={200: ReportOutput} | ERRORS,
    )
    def report(self, request: Request) -> Response:
        """The requests that each web process answered against its rows. It counts all rows: do not poll it."""
        query.refuse_unknown(request, ("since",))
        accounts = reconciling.accounts(since=query.moment(request, "since"))
        return Response(
            {
                "complete": not any(account.missing for account in accounts),
                "processes": [{name: getattr(account, name) for name in _REPORTED} for account in accounts],
            }
        )
