"""Whether a loaded model answers."""

from __future__ import annotations

from enum import StrEnum


class Health(StrEnum):
    UNKNOWN = "unknown"
    """Nobody has seen it answer yet, or nobody looks: its worker is away."""
    HEALTHY = "healthy"
    FAILING = "failing"
    """It did not answer the last time."""
