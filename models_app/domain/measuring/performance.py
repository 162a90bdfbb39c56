"""Exponentially weighted averages of what a model does: the newest requests count most, old ones fade."""

from __future__ import annotations

# A request counts half after the 14 that follow it: steady at a few requests a minute, and new after a change of a model.
ALPHA = 0.05


def weight(count: int) -> float:
    """What the mean of `count` new values weighs against the average so far.

    Folding in a batch by its mean gives what its values, one after the other, would give if they were equal.
    """
    return float(1.0 - (1.0 - ALPHA) ** count)
