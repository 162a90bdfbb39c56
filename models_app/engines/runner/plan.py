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
    """How many tokens of each prompt go into a step with room for `room`; `left` is in order of arrival.

    Half of the room is dealt out evenly, so that no prompt waits for another; the other half goes to the prompts that
    have least left, because a prompt that is done earlier has its first token earlier.
    """
    given = _evenly(left, room // 2)
    spare = room - sum(given)
    for index in sorted(range(len(left)), key=left.__getitem__):
        more = min(spare, left[index] - given[index])
        given[index] += more
        spare -= more
    return given


def _evenly(left: Sequence[int], room: int) -> list[int]:
    given = [0] * len(left)
    for place, index in enumerate(sorted(range(len(left)), key=left.__getitem__)):
        given[index] = min(left[index], room // (len(left) - place))
        room -= given[index]
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
        self._seconds_per_token = (
            measured if known is None else known + _WEIGHT * (measured - known)
        )

    def share(self) -> int:
        if self._seconds_per_token is None:
            return FIRST_SHARE
        return max(LEAST_SHARE, int(STEP_SECONDS / self._seconds_per_token))
