"""Queries whose SQL is made once: for reads so frequent that making it would be most of their cost.

Django takes ten times as long to turn such a query into SQL as the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.models import QuerySet


class PreparedQuery:
    """`make` gives a `values_list` query whose only parameters are those of `rows`, in their order."""

    def __init__(self, make: Callable[[], QuerySet[Any, Any]]) -> None:
        self._make = make
        self._sql = ""
        self._compiler: Any = None
        self._converters: Any = None

    def rows(self, *parameters: Any) -> list[tuple[Any, ...]]:
        """Values as Django reads them: times with their zone, JSON as objects."""
        if self._compiler is None:
            compiler: Any = self._make().query.get_compiler("default")
            self._sql = compiler.as_sql()[0]
            self._converters = compiler.get_converters([one[0] for one in compiler.select])
            # Last: another thread that finds it finds the SQL too.
            self._compiler = compiler
        compiler = self._compiler
        with connections["default"].cursor() as cursor:
            cursor.execute(self._sql, parameters)
            found = cursor.fetchall()
        return list(compiler.apply_converters(found, self._converters))
