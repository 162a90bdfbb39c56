"""The audit log."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api.filtersets import AuditFilters
from models_app.api.pagination import NewestFirst
from models_app.api.schema import ERRORS
from models_app.api.serializers.audit import AuditListOutput
from models_app.api.views.base import ManagementViewSet
from models_app.models import AuditEntry
from models_app.services.coordination import audit


class AuditPages(NewestFirst):
    word = "entries"


class AuditViewSet(ManagementViewSet):
    filterset_class = AuditFilters
    pagination_class = AuditPages
    list_name = "audit"

    @extend_schema(
        operation_id="list_audit",
        summary="List the audit log",
        tags=["audit"],
        responses={200: AuditListOutput} | ERRORS,
    )
    def list(self, request: Request) -> Response:
        """All successful and refused changes, newest first, without secrets."""
        return self.paginated(AuditEntry.objects.all(), audit.represent)
