"""Waiting for a condition, with a deadline and a description."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

Found = TypeVar("Found")

# Between checks of conditions without a notification, such as those of other processes.
_CHECK_SECONDS = 0.02


def until(check: Callable[[], Found], what: str | Callable[[], str], seconds: float = 20.0) -> Found:
    """The first true value of `check`; fails with `what`, or with what it returns, when there is none in time."""
    deadline = monotonic() + seconds
    pause = threading.Event()
    while True:
        found = check()
        if found:
            return found
        if monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what if isinstance(what, str) else what()}.")
        pause.wait(_CHECK_SECONDS)
