"""How long the next log-in has to wait after failed ones: by user and address together, by address, and by user.

The three bounds stop different attackers: one that guesses the password of one user, one that tries many users from
one address, and one that has many addresses. A user who has logged in from an address before is exempt from the last
two there: a third party cannot lock an operator out of their own machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# Failures are forgotten when the last one is so old; also the longest time to wait. Seconds.
WINDOW_SECONDS = 15 * 60
# The wait after the first failure too many; it doubles with each further one.
_FIRST_WAIT_SECONDS = 60
# One user from many addresses is slowed down, not locked: the wait stays short.
_LONGEST_USER_WAIT_SECONDS = 30


class Kind(StrEnum):
    PAIR = "user and address"
    ADDRESS = "address"
    USER = "user"


# Failures that are allowed within the window.
ALLOWED = {Kind.PAIR: 5, Kind.ADDRESS: 20, Kind.USER: 50}


@dataclass(frozen=True, slots=True)
class Tally:
    """Failures of one subject, and the seconds since the last one."""

    failures: int = 0
    age: float = WINDOW_SECONDS

    @property
    def current(self) -> int:
        """The failures that still count."""
        return self.failures if self.age < WINDOW_SECONDS else 0


def wait_seconds(kind: Kind, tally: Tally) -> float:
    """Seconds until the next log-in is checked; 0 is now."""
    excess = tally.current - ALLOWED[kind]
    if excess < 0:
        return 0.0
    if kind == Kind.USER:
        wait = min(2.0 ** min(excess // 10, 10), _LONGEST_USER_WAIT_SECONDS)
    else:
        wait = min(_FIRST_WAIT_SECONDS * 2.0 ** min(excess, 10), WINDOW_SECONDS)
    return max(0.0, wait - tally.age)


def longest_wait(tallies: dict[Kind, Tally], *, is_known: bool) -> tuple[float, Kind]:
    """The wait of one log-in, and its reason. `is_known`: this user has logged in from this address before."""
    applied = [Kind.PAIR] if is_known else list(Kind)
    return max(((wait_seconds(kind, tallies[kind]), kind) for kind in applied), key=lambda found: found[0])
