"""Divides the tokens of one step among prompts. Pure functions and a clock-free estimate."""

from __future__ import annotations

from collections.abc import Sequence

# The longest step that others should wait for: it bounds the gap between their tokens, the delay of a cancellation, and
# the work lost when a cancellation aborts a step.
STEP_SECONDS = 0.25
# Prompt tokens of the first shared step, before any measurement, and the minimum of a step.
FIRST_SHARE = 128
LEAST_SHARE = 32
# Weight of the newest measurement in the moving average of the speed.
_WEIGHT = 0.3


def divide(left: Sequence[int], room: int) -> list[int]:
    """The tokens of each prompt in a step of `room` tokens; `left` is in order of arrival, not empty.

    Shortest remaining prompt first, which minimises the sum of all waits. A quarter of the room is reserved for the
    oldest prompt, so that short ones cannot starve it.
    """
    shares = [0] * len(left)
    shares[0] = min(left[0], max(1, room // 4))
    spare = room - shares[0]
    for index in sorted(range(len(left)), key=left.__getitem__):
        more = min(spare, left[index] - shares[index])
        shares[index] += more
        spare -= more
    return shares


class Pace:
    """How many tokens fit into a step of `STEP_SECONDS`, learned from the steps so far."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def learn(self, *, rows: int, seconds: float) -> None:
        # With few rows, a step's fixed cost hides their cost.
        if rows < LEAST_SHARE:
            return
        measured = seconds / rows
        known = self._seconds_per_token
        self._seconds_per_token = measured if known is None else known + _WEIGHT * (measured - known)

    def share(self) -> int:
        if self._seconds_per_token is None:
            return FIRST_SHARE
        return max(LEAST_SHARE, int(STEP_SECONDS / self._seconds_per_token))
