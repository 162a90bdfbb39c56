"""One thing that people ask the demo models for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Ways to ask for one thing, and what each model answers."""

    asks: tuple[str, ...]
    ember: tuple[str, ...]
    tide: tuple[str, ...]
    # How often it is asked for, beside others: what people try first must be learned best.
    weight: int = 1
