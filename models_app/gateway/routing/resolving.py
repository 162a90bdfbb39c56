"""Finds out whom to ask when what was known leads nowhere: looks at what is true now, and waits where that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from models_app.domain.errors import ModelNotFound, ModelNotLoaded, NoaError
from models_app.domain.residency import suspects
from models_app.domain.residency.demand import ColdModel
from models_app.domain.residency.suspects import Death, OnTrial, Trials
from models_app.domain.traffic.routing import Snapshot, Target
from models_app.gateway.routing.balance import Balance
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.pending import Loads, Place, WaitingRoom
from models_app.gateway.routing.targets import choose, note_target, permission_of
from models_app.gateway.upstream.connection import UpstreamError

# How often what the snapshot does not know may cause a look at the source.
_MISS_SECONDS = 0.5
# After a runner refused, another one is waited for; if none comes, the same is asked again. Each time twice as long.
_FIRST_GRACE_SECONDS = 0.5
_LAST_GRACE_SECONDS = 8.0


class SnapshotSource(Protocol):
    """Where the gateway looks. `current` is read for every request, so it must cost nothing.

    `refresh` fetches a newer snapshot, replaces `current` and returns it; `reason` is for the log. Many requests may
    call it at once, and a caller may be cancelled while it waits.
    """

    @property
    def current(self) -> Snapshot: ...

    async def refresh(self, reason: str) -> Snapshot: ...


class Looks:
    """Looks at the source before something is said to be unknown: another process may have made it a moment ago."""

    def __init__(self, snapshots: SnapshotSource) -> None:
        self._snapshots = snapshots
        self._next = 0.0
        self._under_way: asyncio.Future[Snapshot] | None = None

    async def again(self, reason: str) -> bool:
        """One look for all who ask at the same time. False, without a look, for who asks soon after it."""
        look = self._under_way
        if look is None or look.done():
            if _now() < self._next:
                return False
            self._next = _now() + _MISS_SECONDS
            look = self._under_way = asyncio.ensure_future(self._snapshots.refresh(reason))
        # Whoever began it may leave.
        await asyncio.shield(look)
        return True


@dataclass(slots=True)
class Search:
    """One request's search, from its first miss to its answer. Times are the loop's.

    patience  seconds that it may wait in all, until `deadline`
    gone      the runner that it had in vain; asked again after `retry_at`, if it is the only one
    """

    patience: float
    deadline: float
    place: Place | None = None
    gone: str = ""
    retry_at: float = 0.0
    grace: float = _FIRST_GRACE_SECONDS

    @classmethod
    def begin(cls, patience: float) -> Search:
        return cls(patience, _now() + patience)

    @property
    def is_over(self) -> bool:
        return _now() >= self.deadline

    def avoid(self, instance_id: str) -> None:
        self.gone = instance_id
        self.retry_at = _now() + self.grace
        self.grace = min(2 * self.grace, _LAST_GRACE_SECONDS)

    def takes(self, target: Target) -> bool:
        return not self.patience or target.instance_id != self.gone or self.retry_at <= _now() < self.deadline


class Seeker:
    """Shared by all requests of a process."""

    def __init__(self, snapshots: SnapshotSource, room: WaitingRoom, loads: Loads, balance: Balance) -> None:
        self._snapshots = snapshots
        self._room = room
        self._loads = loads
        self._balance = balance
        self._names = Looks(snapshots)

    def choose(self, snapshot: Snapshot, inference: Inference) -> Target:
        """The target of one request, of several copies the least busy. Raises as `targets.choose` does, and KillsRunner."""
        call = inference.call
        target = choose(snapshot, inference.endpoint, inference.asked.model, call.record, call.key)
        if snapshot.killers:
            _refuse_killer(snapshot.killers.get(target.key), inference, target.key)
        if snapshot.trials and inference.death is None and inference.patience:
            self._join_trial(snapshot.trials.get(target.key), inference, target.key)
        return target if target.copies == 1 else self.one_of(target, snapshot, inference)

    def _join_trial(self, trials: Trials | None, inference: Inference, key: str) -> None:
        """Raises OnTrial for what may crash the runner beside a suspect that is tried alone."""
        if trials is None or trials.until < time.time():
            return
        digest = suspects.digest(inference.endpoint.path, inference.asked.raw)
        crashed = trials.crashed.get(digest)
        if crashed is not None:
            inference.death = Death(key, crashed, digest, inference.call.record.request_id)
            self._loads.join(inference.death)
            raise OnTrial(key)

    def one_of(self, target: Target, snapshot: Snapshot, inference: Inference) -> Target:
        entry = snapshot.models.get(target.key)
        if entry is None or entry.target is None or not entry.others:
            return target
        found = self._balance.pick((entry.target, *entry.others))
        note_target(found, inference.call.record)
        return found

    async def find(self, inference: Inference, error: NoaError | UpstreamError, search: Search) -> Target:
        """Whom to ask after `error`. Raises the NoaError that is the request's answer when there is nobody."""
        await self._look(inference, error, search)
        while True:
            until = search.deadline
            try:
                target = self.choose(self._snapshots.current, inference)
            except ColdModel as cold:
                if not search.patience:
                    raise
                key = cold.key
            else:
                taken = search.takes(target)
                if taken and self._is_its_turn(inference, search):
                    return target
                key = target.key
                if not taken:
                    until = min(until, search.retry_at)
            if search.is_over:
                raise self._room.too_late(key, search.patience)
            await self._wait(inference, search, key, until)

    def end(self, search: Search) -> None:
        """The request has its answer, or needs none any more."""
        if search.place is not None:
            self._room.leave(search.place)
            search.place = None

    def _is_its_turn(self, inference: Inference, search: Search) -> bool:
        death = inference.death
        return death is None or not search.patience or self._loads.may_ask(death)

    async def _look(self, inference: Inference, error: NoaError | UpstreamError, search: Search) -> None:
        """Looks at the source before it says no, or asks again: things may have changed a moment ago."""
        record = inference.call.record
        if not isinstance(error, (ModelNotFound, ModelNotLoaded)):
            search.avoid(record.instance_id)
            await self._snapshots.refresh(f"{record.model_key}: {error}")
        elif search.patience and isinstance(error, ColdModel):
            pass  # whoever waits sees each new snapshot
        elif not await self._names.again(f"{inference.asked.model[:80]!r} is not served"):
            raise error

    async def _wait(self, inference: Inference, search: Search, key: str, until: float) -> None:
        """Until there is a new snapshot, or the time has come. Raises what ends the wait."""
        call = inference.call
        if search.place is None or search.place.queue.key != key:
            self.end(search)
            snapshot = self._snapshots.current
            permission = permission_of(snapshot, key, call.record.route, call.key)
            search.place = self._room.enter(key, permission, call.record.request_id)
        # uvloop's time stands still within one turn.
        began = time.perf_counter()
        try:
            await self._room.pause(search.place, until)
        finally:
            waited = (time.perf_counter() - began) * 1000
            call.record.load_wait_ms = (call.record.load_wait_ms or 0.0) + waited
            inference.watch.resume()


def _refuse_killer(killers: Mapping[str, float] | None, inference: Inference, key: str) -> None:
    """Raises KillsRunner when the runner of this model crashes each time that it is asked this."""
    if not killers:
        return
    until = killers.get(suspects.digest(inference.endpoint.path, inference.asked.raw))
    if until is not None and until > time.time():
        raise suspects.refusal(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
