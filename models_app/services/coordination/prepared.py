"""Queries whose SQL is made once: for reads so frequent that making it would be most of their cost.

Django takes ten times as long to turn such a query into SQL as the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import QuerySet


class PreparedQuery:
    """`make` gives a `values_list` query whose last parameters are those of `rows`, in their order.

    Those before them, of annotations, stay what `make` says.
    """

    def __init__(self, make: Callable[[], QuerySet[Any, Any]]) -> None:
        self._make = make
        self._sql = ""
        self._given: tuple[Any, ...] = ()
        self._compiler: Any = None
        self._converters: Any = None

    def rows(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Values as Django reads them: times with their zone, JSON as objects."""
        if self._compiler is None:
            compiler: Any = self._make().query.get_compiler("default")
            self._sql, self._given = compiler.as_sql()
            self._converters = compiler.get_converters([one[0] for one in compiler.select])
            # Last: another thread that finds it finds the SQL too.
            self._compiler = compiler
        compiler = self._compiler
        with connections["default"].cursor() as cursor:
            first = self._given[: len(self._given) - len(parameters)]
            cursor.execute(self._sql, (*first, *parameters))
            found = cursor.fetchall()
        return list(compiler.apply_converters(found, self._converters))
