"""Reads of the access log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from models_app.domain.errors import NotFound
from models_app.models import AccessLog


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """Selects requests. None does not filter; `since` is inclusive, `until` exclusive.

    request_id  NOA's own, or the X-Request-ID of a client
    """

    model: str | None = None
    route: str | None = None
    key: str | None = None
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    stream: bool | None = None
    end_user: str | None = None
    session: str | None = None
    trace: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def rows(self) -> QuerySet[AccessLog]:
        exact = {
            "model_key": self.model,
            "route": self.route,
            "key_id": self.key,
            "status": self.status,
            "error_code": self.error_code,
            "stream": self.stream,
            "end_user": self.end_user,
            "session": self.session,
            "trace_id": self.trace,
            "started_at__gte": self.since,
            "started_at__lt": self.until,
        }
        found = AccessLog.objects.filter(**{name: value for name, value in exact.items() if value is not None})
        if self.request_id is not None:
            found = found.filter(Q(request_id=self.request_id) | Q(client_request_id=self.request_id))
        return found


def get(*, request_id: str) -> AccessLog:
    """The request with this id; of several with the same id from a client, the newest."""
    row = AccessFilter(request_id=request_id).rows().order_by("-pk").first()
    if row is None:
        raise NotFound(
            f"There is no request '{request_id[:80]}' in the access log. A request is listed about a second after its"
            " end.",
            code="request_not_found",
            param="request_id",
        )
    return row
