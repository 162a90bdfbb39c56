"""Django choices from the enumerations of `models_app.domain`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


def choices_of(states: type[StrEnum]) -> Iterable[tuple[str, str]]:
    return [(state.value, state.value.replace("_", " ")) for state in states]


def in_words(states: Iterable[StrEnum]) -> list[str]:
    """Values for a query or a constraint, in a stable order."""
    return [state.value for state in states]
