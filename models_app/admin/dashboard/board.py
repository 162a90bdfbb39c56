"""The parts of the overview, rendered once for all viewers in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.template.loader import render_to_string

from models_app.admin.dashboard.sections import SECTIONS
from models_app.services.api_keys import staff
from models_app.services.reporting import overview

# The shortest interval between two renderings. It bounds the cost: about ten queries per interval, whatever the number
# of viewers.
EVERY_SECONDS = 2.0


class Board:
    """Thread-safe. Parts are HTML by name; `names_for` selects those of a user."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: Mapping[str, str] = {}
        self._made_at = float("-inf")

    def parts(self, *, max_age: float = 0.0) -> Mapping[str, str]:
        """All parts, rendered again when they are older than `max_age` seconds."""
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
    """The parts that the user's rights include."""
    return frozenset(name for name, section in SECTIONS.items() if staff.may_view(user=user, table=section.table))


board = Board()
"""The instance of this process."""
