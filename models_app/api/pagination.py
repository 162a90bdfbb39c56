"""Pagination classes: numbered pages of the registry, and cursors over rows in time order, newest first."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, ClassVar

import orjson
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.domain.errors import InvalidRequest, NotFound

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
# Beyond any registry.
MAX_PAGE = 1_000_000

Find = Callable[[int, int], tuple[int, list[Any]]]


class NewestFirst(BasePagination):
    """`{word: […], "next": url or null}`. Rows added between two requests do not shift the pages.

    `ordering` is the column that grows with time; the primary key decides between equal values.
    """

    word: ClassVar[str]
    ordering: ClassVar[str] = "id"
    parameters: ClassVar[list[OpenApiParameter]] = [
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
            description="How many.",
        ),
        OpenApiParameter("before", str, description="The place to continue from: take it from `next`."),
    ]
    _link: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        limit = query.integer(request, "limit", default=PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
        cursor = request.query_params.get("before")
        if cursor is not None:
            queryset = _older(queryset, self.ordering, cursor)
        found = list(queryset.order_by(f"-{self.ordering}", "-pk")[: limit + 1])
        if len(found) > limit:
            found = found[:limit]
            self._link = _with(request, "before", _cursor(found[-1], self.ordering))
        return found

    def get_paginated_response(self, data: Any) -> Response:
        return Response({self.word: data, "next": self._link})


def _cursor(row: Model, by: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([getattr(row, by), row.pk])).decode().rstrip("=")


def _with(request: Request, name: str, value: str) -> str:
    parameters = request.query_params.copy()
    parameters[name] = value
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


class Numbered(BasePagination):
    """`{"count", "next", "previous", word: […]}`.

    In place of a queryset it takes a function of a page's number and size, which returns the count and the rows: the
    registry's lists are prepared SQL.
    """

    word: ClassVar[str]
    parameters: ClassVar[list[OpenApiParameter]] = [
        OpenApiParameter(
            "page",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 1},
            description="The number of the page. A page beyond the last one is answered with 404.",
        ),
        OpenApiParameter(
            "page_size",
            {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
            description="The number of models per page.",
        ),
    ]
    _place: dict[str, Any]

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        find: Find = queryset
        number = query.integer(request, "page", default=1, low=1, high=MAX_PAGE)
        size = query.integer(request, "page_size", default=PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
        count, rows = find(number, size)
        last = max(1, -(-count // size))
        if number > last:
            raise NotFound(f"There is no page {number}: the last one is {last}.", code="not_found", param="page")
        self._place = {
            "count": count,
            "next": _with(request, "page", str(number + 1)) if number < last else None,
            "previous": _with(request, "page", str(number - 1)) if number > 1 else None,
        }
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response(self._place | {self.word: data})
