"""Requests that wait for a model, as the gateway and the database exchange them.

Pure: the caller passes the time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from models_app.domain.errors import InvalidRequest, ModelNotLoaded, NoaError

# `Retry-After` of a load without a forecast: loading takes seconds to minutes.
UNKNOWN_RETRY_AFTER = 10
# A failed load is not repeated for every request: the file and the free memory seldom change within seconds.
REST_SECONDS = 10.0

_PREFER_WAIT = re.compile(rb"(?:^|[,;\s])wait=(\d{1,6}(?:\.\d{1,3})?)(?=$|[,;\s])")
_SECONDS = re.compile(rb"\d{1,6}(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Permission:
    """What a request can cause: a load, and evictions for that load."""

    load: bool = True
    evict: bool = True

    def __and__(self, other: Permission) -> Permission:
        return Permission(self.load and other.load, self.evict and other.evict)

    def __or__(self, other: Permission) -> Permission:
        return Permission(self.load or other.load, self.evict or other.evict)


EVERYTHING = Permission()
NOTHING = Permission(load=False, evict=False)


class ColdModel(ModelNotLoaded):
    """The model is registered and not loaded."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The model '{key}' is not loaded. Load it in the console, or with POST /api/v1/models/load "
            f'and the body {{"key": "{key}"}}, then try again.',
            param="model",
            retry_after=UNKNOWN_RETRY_AFTER,
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """The requests of one process that wait for one model.

    waiting     their number; `since` (Unix seconds) is when the first of them arrived
    request_id  the request for which the model is loaded, if it is
    """

    key: str
    waiting: int
    since: float
    permission: Permission
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast for waiting requests. `failure` ends their wait; `seconds` until the model is ready, if known."""

    seconds: float | None = None
    failure: NoaError | None = None


def patience(headers: dict[bytes, bytes], limit: float) -> float:
    """Seconds that a request waits for a model: the value of `X-NOA-Wait` or `Prefer: wait=`, at most `limit`.

    Raises InvalidRequest for an `X-NOA-Wait` that is not a number; an unsupported `Prefer` is ignored.
    """
    text = headers.get(b"x-noa-wait")
    if text is not None:
        if not _SECONDS.fullmatch(text.strip()):
            raise InvalidRequest("'X-NOA-Wait' must be a number of seconds.", param="X-NOA-Wait")
        return min(limit, float(text))
    found = _PREFER_WAIT.search(headers.get(b"prefer", b""))
    return min(limit, float(found[1])) if found else limit


def retry_after(due: float | None, now: float) -> int:
    """Whole seconds until a model is ready that is `due` (None: no forecast), at least 1."""
    return UNKNOWN_RETRY_AFTER if due is None else max(1, math.ceil(due - now))


def expected_seconds(history: Iterable[float], elapsed: float) -> float | None:
    """Seconds until the end of a load that began `elapsed` seconds ago, by the median of earlier loads; None without.

    A load that takes longer than the median counts as nearly complete.
    """
    known = sorted(history)
    if not known:
        return None
    return max(1.0, known[len(known) // 2] - elapsed)


def rest_left(failed_ago: float | None) -> float:
    """Seconds until a load that failed `failed_ago` seconds ago can be repeated, 0 or more."""
    return 0.0 if failed_ago is None else max(0.0, REST_SECONDS - failed_ago)
