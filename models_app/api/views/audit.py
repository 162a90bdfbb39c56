"""The audit log."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.api.pagination import NEWEST_FIRST, newest_first
from models_app.api.schema import ERRORS
from models_app.api.serializers.audit import AuditListOutput
from models_app.api.views.base import ManagementView
from models_app.domain.scopes import Scope
from models_app.models import AuditEntry
from models_app.services.coordination import audit

_TEXT = query.text_schema()
_TEXTS = ("actor", "action", "subject")


class AuditList(ManagementView):
    scopes = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="list_audit",
        tags=["audit"],
        parameters=[
            OpenApiParameter("actor", _TEXT, description="By this user or key, as `key:ci`."),
            OpenApiParameter("action", _TEXT, description="This operation, as `load_model`, or console action."),
            OpenApiParameter("subject", _TEXT, description="About this model key, route or key."),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this time."),
            *NEWEST_FIRST,
        ],
        responses={200: AuditListOutput} | ERRORS,
    )
    def get(self, request: Request) -> Response:
        """Every call that changed something or tried to, the newest first; secrets are left out."""
        query.refuse_unknown(request, (*_TEXTS, "since", "limit", "before"))
        chosen = {name: query.text(request, name) for name in _TEXTS}
        rows = AuditEntry.objects.filter(**{name: value for name, value in chosen.items() if value is not None})
        since = query.moment(request, "since")
        if since is not None:
            rows = rows.filter(at__gte=since)
        return newest_first(request, rows, word="entries", represent=audit.represent)
