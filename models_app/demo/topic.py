"""One topic of the demo models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Phrasings of one question, and each model's answers."""

    asks: tuple[str, ...]
    ember: tuple[str, ...]
    tide: tuple[str, ...]
    # Relative frequency in training: the most common questions must be learned best.
    weight: int = 1
