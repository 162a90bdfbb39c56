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
from rest_framework.request import Request
from rest_framework.response import Response

from models_app.api import query
from models_app.domain.errors import InvalidRequest, NotFound

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
# Beyond any registry.
MAX_PAGE = 1_000_000

NEWEST_FIRST = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
        description="How many.",
    ),
    OpenApiParameter(
        "before",
        str,
        description="The place to go on from: take it from `next`.",
    ),
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
        link = _with(request, "before", _cursor(found[-1], by))
    return Response({word: [represent(row) for row in found], "next": link})


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


def numbered(
    request: Request,
    find: Callable[[int, int], tuple[int, list[Any]]],
    *,
    word: str,
    represent: Callable[[Any], Any],
) -> Response:
    """`{"count", "next", "previous", word: […]}`. `find` takes a page's number and size, and tells the count too."""
    number = query.integer(request, "page", default=1, low=1, high=MAX_PAGE)
    size = query.integer(request, "page_size", default=PAGE_SIZE, low=1, high=MAX_PAGE_SIZE)
    count, rows = find(number, size)
    last = max(1, -(-count // size))
    if number > last:
        raise NotFound(f"There is no page {number}: the last one is {last}.", code="not_found", param="page")
    return Response(
        {
            "count": count,
            "next": _with(request, "page", str(number + 1)) if number < last else None,
            "previous": _with(request, "page", str(number - 1)) if number > 1 else None,
            word: [represent(row) for row in rows],
        }
    )
