"""How the room of one step is divided among prompts. Pure functions and a clock-free estimate."""

from __future__ import annotations

from collections.abc import Sequence

# With others waiting for their next token, a step should not take longer than this: it is their largest gap, the
# delay of a cancellation, and what is lost when a cancellation aborts a step.
STEP_SECONDS = 0.25
# Prompt tokens of the first shared step, before anything was measured, and the least that a step takes on.
FIRST_SHARE = 128
LEAST_SHARE = 32
# Share of the newest measurement in the running mean of the speed.
_WEIGHT = 0.3


def divide(left: Sequence[int], room: int) -> list[int]:
    """How many tokens of each prompt go into a step with room for `room`; `left` is in order of arrival, not empty.

    The prompts with least left go first: that makes the sum of all waits smallest. A quarter of the room is the oldest
    one's whatever it has left, so that a long prompt is not passed by short ones for ever.
    """
    given = [0] * len(left)
    given[0] = min(left[0], max(1, room // 4))
    spare = room - given[0]
    for index in sorted(range(len(left)), key=left.__getitem__):
        more = min(spare, left[index] - given[index])
        given[index] += more
        spare -= more
    return given


class Pace:
    """How many tokens fit into a step of `STEP_SECONDS`, learned from the steps so far."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def learn(self, *, rows: int, seconds: float) -> None:
        # The fixed cost of a step hides the cost of its rows where there are few.
        if rows < LEAST_SHARE:
            return
        measured = seconds / rows
        known = self._seconds_per_token
        self._seconds_per_token = measured if known is None else known + _WEIGHT * (measured - known)

    def share(self) -> int:
        if self._seconds_per_token is None:
            return FIRST_SHARE
        return max(LEAST_SHARE, int(STEP_SECONDS / self._seconds_per_token))
