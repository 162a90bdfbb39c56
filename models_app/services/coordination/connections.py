"""Database connections of a process: few, so that no thread holds one while it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import connection, connections
from django.db.utils import load_backend

from models_app.domain import request_context

Result = TypeVar("Result")

_ALIAS = "readiness"


def release() -> None:
    """Return this thread's connection; the next query takes one again. Call it before each wait.

    The place of a request among those that Django processes is given up too. Inside a transaction it does nothing: no
    code waits there.
    """
    if not connection.in_atomic_block:
        connection.close()
        request_context.place.get().leave()


def beside_the_pool(query: Callable[[], Result]) -> Callable[[], Result]:
    """`query`, run with a connection that no other work uses, and with short time-outs.

    For checks of readiness: a process whose other connections are all in use is busy, not unready.
    """

    def run() -> Result:
        shared = connections["default"]
        engine = load_backend(shared.settings_dict["ENGINE"])
        options = {**shared.settings_dict["OPTIONS"], **settings.NOA_READINESS_OPTIONS}
        # A pool belongs to its alias.
        own = engine.DatabaseWrapper({**shared.settings_dict, "OPTIONS": options}, _ALIAS)
        # Of this thread only. Rows that were read with a connection find their relations by its alias.
        connections["default"] = connections[_ALIAS] = own
        try:
            return query()
        finally:
            own.close()
            connections["default"] = shared
            del connections[_ALIAS]

    return run
