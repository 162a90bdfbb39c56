"""Waiting for what must come, with a deadline and words for what did not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

Found = TypeVar("Found")

# Between looks where nothing tells of the change: other processes.
_LOOK_EVERY = 0.02


def until(look: Callable[[], Found], what: str, seconds: float = 20.0) -> Found:
    """The first true value of `look`; fails with `what` when there is none in time."""
    deadline = monotonic() + seconds
    pause = threading.Event()
    while True:
        found = look()
        if found:
            return found
        if monotonic() > deadline:
            raise AssertionError(f"Waited {seconds:g} s in vain until {what}.")
        pause.wait(_LOOK_EVERY)
