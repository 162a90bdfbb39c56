"""The parts of the first page, rendered once for everybody who looks at it in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.template.loader import render_to_string

from models_app.admin.dashboard.sections import SECTIONS
from models_app.services.reporting import overview

# How often a page that is looked at changes at most. People read no faster, and it bounds what the page costs:
# some ten queries in this time, for one who looks as for a hundred.
EVERY_SECONDS = 2.0


class Board:
    """Thread-safe. Parts are HTML by name; whoever looks is shown those that they may see."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: Mapping[str, str] = {}
        self._made_at = float("-inf")

    def parts(self, *, max_age: float = 0.0) -> Mapping[str, str]:
        """All parts, made anew when they are older than `max_age` seconds."""
        with self._lock:
            if monotonic() - self._made_at >= max_age:
                self._parts = _rendered()
                self._made_at = monotonic()
            return self._parts


def _rendered() -> Mapping[str, str]:
    facts = overview.facts()
    return {
        name: render_to_string(f"admin/noa/live/{name}.html", section.context(facts)).strip()
        for name, section in SECTIONS.items()
    }


def names_for(user: User | AnonymousUser | Any) -> frozenset[str]:
    """The parts that somebody may see."""
    return frozenset(name for name, section in SECTIONS.items() if user.has_perm(f"models_app.{section.right}"))


board = Board()
"""The one of this process."""
