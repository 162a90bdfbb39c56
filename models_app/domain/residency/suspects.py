"""Requests that kill runners: how one is recognised, and when it is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from models_app.domain.errors import InvalidRequest
from models_app.domain.residency.demand import ColdModel

# One crash may be chance, or another request's. Two are none.
CRASHES = 2
# After an hour a request is tried again: the engine, or what it stumbled over, may have changed.
FORGOTTEN_SECONDS = 3600.0
# How long one suspect may keep the others waiting: its web process may have gone.
TRIAL_SECONDS = 30.0

# They choose the model, the way of the answer, or say who asks: what is computed stays the same.
_NOT_COMPUTED = ("model", "stream", "stream_options", "user", "metadata")
# How a process ends that was told to, or that the kernel took for its memory: no request did that.
_FROM_OUTSIDE = frozenset({"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"})
# What models_app.engines.process.describe_exit says.
_END = re.compile(r"was killed by (SIG\w+)|exited with code (\d+)")


class KillsRunner(InvalidRequest):
    """422: the runner crashed each time that it was asked this."""

    http_status = 422
    default_code = "request_crashes_runner"


class OnTrial(ColdModel):
    """A runner crashed with the same request in it: this one waits for its turn too, and never reaches a client."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Requests of one model that are asked one by one after a crash: digest to the instance that crashed.

    `until` (Unix seconds) they matter to requests that come anew.
    """

    until: float
    crashed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Death:
    """A runner's end with this request in it."""

    key: str
    instance_id: str
    digest: str
    request_id: str


def digest(path: str, body: bytes) -> str:
    """The same for requests that make a runner compute the same. `body` is a JSON object."""
    value = orjson.loads(body)
    for name in _NOT_COMPUTED:
        value.pop(name, None)
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # nested more deeply than can be written
        text = body
    return hashlib.sha256(path.encode() + b"\n" + text).hexdigest()


def is_crash(reason: str) -> bool:
    """Whether a runner that failed for this reason ended by itself: by a signal of its own fault, or with an error."""
    found = _END.search(reason)
    if found is None:
        return False
    return found[1] not in _FROM_OUTSIDE if found[1] else found[2] != "0"


def refused_until(crashes: Iterable[float]) -> float | None:
    """Until when a request is refused whose runners crashed at these times; None when it is not."""
    times = sorted(crashes)
    return times[-1] + FORGOTTEN_SECONDS if len(times) >= CRASHES else None


def refusal(key: str) -> KillsRunner:
    return KillsRunner(
        f"This request is not asked again: the runner of '{key}' crashed {CRASHES} times while it worked on it. Change "
        "the request, or try it again in an hour; an administrator finds the crashes in the model's events."
    )
