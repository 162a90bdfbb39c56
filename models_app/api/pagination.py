"""Pages: numbered ones of the registry, and what is written in time order, newest first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.domain.errors import InvalidRequest

NEWEST_FIRST = [
    OpenApiParameter("limit", int, description="How many, 1 to 500; 50 if not given."),
    OpenApiParameter("before", str, description="The place to go on from: take it from `next`."),
]


def newest_first(
    request: Request,
    rows: QuerySet[Any],
    *,
    word: str,
    represent: Callable[[Any], Any],
    by: str = "id",
) -> Response:
    """`{word: […], "next": url or null}`. New rows that come meanwhile shift nothing.

    `by` is the column that grows with time; the primary key decides between equal ones.
    """
    limit = query.integer(request, "limit", default=50, low=1, high=500)
    cursor = request.query_params.get("before")
    if cursor is not None:
        rows = _older(rows, by, cursor)
    found = list(rows.order_by(f"-{by}", "-pk")[: limit + 1])
    link = None
    if len(found) > limit:
        found = found[:limit]
        link = _with_cursor(request, _cursor(found[-1], by))
    return Response({word: [represent(row) for row in found], "next": link})


def _cursor(row: Model, by: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([getattr(row, by), row.pk])).decode().rstrip("=")


def _with_cursor(request: Request, cursor: str) -> str:
    parameters = request.query_params.copy()
    parameters["before"] = cursor
    return request.build_absolute_uri(f"{request.path}?{parameters.urlencode()}")


def _older(rows: QuerySet[Any], by: str, cursor: str) -> QuerySet[Any]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        value, pk = orjson.loads(base64.urlsafe_b64decode(padded))
        return rows.filter(Q(**{f"{by}__lt": value}) | Q(**{by: value, "pk__lt": pk}))
    except (ValueError, TypeError, OverflowError, binascii.Error, ValidationError):
        raise InvalidRequest(
            "'before' must be taken from 'next' of an earlier page.",
            code="invalid_cursor",
            param="before",
        ) from None


class ModelPages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500

    def get_paginated_response(self, data: Any) -> Response:
        assert self.page is not None
        return Response(
            {
                "count": self.page.paginator.count,
                "next": self.get_next_link(),
                "previous": self.get_previous_link(),
                "models": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["count", "next", "previous", "models"],
            "properties": {
                "count": {"type": "integer"},
                "next": link,
                "previous": link,
                "models": schema,
            },
        }
