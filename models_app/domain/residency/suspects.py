"""Recognises requests that crash runners, and decides when they are refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.demand import ColdModel

# One crash can be chance, or another request's fault. Two are neither.
CRASHES = 2
# After an hour a request is accepted again: the engine, or the model, can have changed.
FORGOTTEN_SECONDS = 3600.0
# The longest time that one suspect blocks the others: its web process can have exited.
TRIAL_SECONDS = 30.0

# Signals of an ordered stop, or of the kernel's OOM killer: not caused by a request.
_FROM_OUTSIDE = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"})
# The format of models_app.engines.process.describe_exit.
_END = re.compile(r"was killed by (SIG\w+)|exited with code (\d+)")


class KillsRunner(InvalidRequest):
    """422: the runner crashed or hung each time that it received this request."""

    http_status = 422
    default_code = "request_crashes_runner"


class OnTrial(ColdModel):
    """A runner crashed with an equal request in flight: this one waits for the same trial. Never reaches a client."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Requests of one model that are repeated one by one after a crash: digest to the instance that crashed.

    New requests with one of these digests join the trial until `until` (Unix seconds).
    """

    until: float
    crashed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Death:
    """The death of a runner with this request in flight."""

    key: str
    instance_id: str
    digest: str
    request_id: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of a runner.

    hung  the requests whose own work kept it busy when the watchdog killed it, if that is known; None when it did not
          hang, or something from outside held it
    """

    reason: str
    hung: Collection[str] | None = None


def weight(end: End, request_id: str) -> int:
    """How often the end of a runner counts against a request that was in it; `CRASHES` times where it is certain."""
    if end.hung is None:
        return 1 if is_crash(end.reason) else 0
    if not end.hung:
        return 1
    return CRASHES if request_id in end.hung else 0


def is_crash(reason: str) -> bool:
    """Whether a runner that failed for this reason crashed: by a signal that it caused, or with an error code."""
    # Not in the runner's log, which can contain anything.
    found = _END.search(reason.partition(" Its last lines:")[0])
    if found is None:
        return False
    return found[1] not in _FROM_OUTSIDE if found[1] else found[2] != "0"


def refused_until(crashes: Iterable[float]) -> float | None:
    """The end of the refusal of a request with these crashes (Unix seconds); None when it is accepted."""
    times = sorted(crashes)
    return times[-1] + FORGOTTEN_SECONDS if len(times) >= CRASHES else None


def refusal(key: str) -> KillsRunner:
    return KillsRunner(
        f"This request is refused: the runner of '{key}' crashed or hung while it processed it. Change the request, "
        "or try it again in an hour; the model's events list what happened."
    )
