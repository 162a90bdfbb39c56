"""The state of a part of the server, as `/readyz` reports it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PartState(StrEnum):
    """ok          works now
    cold        the model is not loaded: the next request loads it, and waits for that
    recovering  the model is being loaded again: requests wait for it
    unset       the route has no target: there is nothing to answer with, and nothing failed
    failed      does not work
    """

    OK = "ok"
    COLD = "cold"
    RECOVERING = "recovering"
    UNSET = "unset"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PartReport:
    """`why` is a sentence; empty if there is nothing to say about the state."""

    state: PartState = PartState.OK
    why: str = ""

    @property
    def is_ok(self) -> bool:
        return self.state is not PartState.FAILED

    @property
    def would_answer(self) -> bool:
        """Whether a request would be answered, if it waits as long as it may."""
        return self.state not in (PartState.FAILED, PartState.UNSET)


OK = PartReport()


def failed(why: str) -> PartReport:
    """`why`, or ok if it is empty."""
    return PartReport(PartState.FAILED, why) if why else OK
