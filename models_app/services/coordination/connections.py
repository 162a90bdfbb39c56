"""Database connections of a process: few, so that no thread holds one while it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import connection, connections
from django.db.utils import load_backend

Result = TypeVar("Result")


def release() -> None:
    """Return this thread's connection; the next query takes one again. Call it before each wait.

    Inside a transaction it does nothing: no code waits there.
    """
    if not connection.in_atomic_block:
        connection.close()


def beside_the_pool(query: Callable[[], Result]) -> Callable[[], Result]:
    """`query`, run with a connection that no other work uses, and with short time-outs.

    For checks of readiness: a process whose other connections are all in use is busy, not unready.
    """

    def run() -> Result:
        shared = connections["default"]
        engine = load_backend(shared.settings_dict["ENGINE"])
        options = {**shared.settings_dict["OPTIONS"], **settings.NOA_READINESS_OPTIONS}
        # A pool belongs to its alias.
        own = engine.DatabaseWrapper({**shared.settings_dict, "OPTIONS": options}, "readiness")
        # Of this thread only.
        connections["default"] = own
        try:
            return query()
        finally:
            own.close()
            connections["default"] = shared

    return run
