"""The slots of the context in which sequences run, and their caches of earlier prompts."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from models_app.engines.runner.batching.sequences import Sequence


class Slot:
    """`cached` are the tokens that the cache of an idle slot holds; `used` orders slots by their last use."""

    __slots__ = ("cached", "number", "sequence", "used")

    def __init__(self, number: int) -> None:
        self.number = number
        self.sequence: Sequence | None = None
        self.cached: array[int] = array("i")
        self.used = 0


def common_prefix(left: array[int], right: array[int]) -> int:
    """The length of the common prefix."""
    length = min(len(left), len(right))
    if not length or left[0] != right[0]:
        return 0
    differ = np.frombuffer(left, np.int32)[:length] != np.frombuffer(right, np.int32)[:length]
    first = int(differ.argmax())
    return first if differ[first] else length


def choose(slots: Iterable[Slot], tokens: array[int]) -> tuple[Slot, int] | None:
    """The idle slot whose cache shares the longest prefix with `tokens`, and its length; among equals the one idle
    for longest. None while all are busy."""
    idle = ((common_prefix(slot.cached, tokens), -slot.used, slot) for slot in slots if slot.sequence is None)
    best = max(idle, key=lambda found: found[:2], default=None)
    return None if best is None else (best[2], best[0])


def oldest_cache(slots: Iterable[Slot]) -> Slot | None:
    """The idle slot whose cache was used longest ago; None when all idle slots are empty."""
    idle = [slot for slot in slots if slot.sequence is None and slot.cached]
    return min(idle, key=lambda slot: slot.used, default=None)
