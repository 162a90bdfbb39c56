"""A request that has passed the limits of its key."""

from __future__ import annotations

from dataclasses import dataclass

from models_app.domain.traffic.limits import Ticket


class Uncountable(Exception):
    """The store of the limits answers, and refuses the numbers of this request: a fault of NOA, not an outage."""


@dataclass(frozen=True, slots=True)
class Permit:
    """`shared` is whether it is counted in Redis; its usage is added to `month`."""

    ticket: Ticket
    month: str
    shared: bool
