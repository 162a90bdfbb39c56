"""Queries whose SQL is compiled once, for reads so frequent that compiling it would be most of their cost.

Django takes ten times as long to turn such a query into SQL as the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import QuerySet


class PreparedQuery:
    """`make` returns a `values_list` query whose last parameters are those of `rows`, in their order.

    Parameters before them, of annotations, keep their values from `make`.
    """

    def __init__(self, make: Callable[[], QuerySet[Any, Any]]) -> None:
        self._make = make
        self._sql = ""
        self._parameters: tuple[Any, ...] = ()
        self._compiler: Any = None
        self._converters: Any = None

    def rows(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Values as Django reads them: times with their zone, JSON as objects."""
        if self._compiler is None:
            compiler: Any = self._make().query.get_compiler("default")
            self._sql, self._parameters = compiler.as_sql()
            self._converters = compiler.get_converters([column[0] for column in compiler.select])
            # Set last: a thread that sees the compiler must find the SQL too.
            self._compiler = compiler
        compiler = self._compiler
        with connections["default"].cursor() as cursor:
            first = self._parameters[: len(self._parameters) - len(parameters)]
            cursor.execute(self._sql, (*first, *parameters))
            found = cursor.fetchall()
        return list(compiler.apply_converters(found, self._converters))
