"""One request's search for a target after its first attempt failed: a fresh snapshot, and the wait for a model."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from models_app.domain.errors import ModelNotFound, ModelNotLoaded, NoaError
from models_app.domain.residency.demand import EVERYTHING, NOTHING, ColdModel, Permission
from models_app.domain.traffic.retries import Failure, Situation
from models_app.domain.traffic.routing import KeyEntry, Snapshot, Target
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.model_loader import ModelLoader
from models_app.gateway.routing.pending import PendingRequests, Place
from models_app.gateway.routing.refreshing import SnapshotRefresher, SnapshotSource
from models_app.gateway.routing.resolving import Resolver
from models_app.gateway.upstream.connection import UpstreamError

# How long a request waits for another runner after one refused, before it retries the same; doubles each time.
_FIRST_GRACE_SECONDS = 0.5
_LAST_GRACE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Shared by all searches of a process."""

    snapshots: SnapshotSource
    refresher: SnapshotRefresher
    resolver: Resolver
    pending: PendingRequests
    loader: ModelLoader


class Search:
    """From the first failure of one request to its answer. Always `end` it. Times are the event loop's."""

    def __init__(self, shared: SearchContext, inference: Inference) -> None:
        self._shared = shared
        self._inference = inference
        self._place: Place | None = None
        # The runner of the last failed attempt; tried again after `_retry_at`, if it is the only one.
        self._avoided = ""
        self._retry_at = 0.0
        self._grace = _FIRST_GRACE_SECONDS
        self._failures = 0
        self._deaths = 0
        self._tried_fallbacks = False
        self._deadline = _now() + inference.patience

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Keys of the models of the route's fallbacks; empty once they were tried."""
        if self._tried_fallbacks:
            return ()
        return self._shared.snapshots.current.fallbacks.get(self._inference.call.record.route, ())

    def situation(self, failure: Failure) -> Situation:
        """Counts one failure, and describes the request's state for the retry rules."""
        self._failures += 1
        self._deaths += failure is Failure.RUNNER_DIED
        return Situation(
            failure,
            started=self._inference.call.started,
            failures=self._failures,
            deaths=self._deaths,
            time_left=self._deadline - _now(),
            has_fallbacks=bool(self.fallbacks),
        )

    def restart(self) -> None:
        """The fallbacks failed too: the search for the target begins again, with the whole patience of the request."""
        self._tried_fallbacks = True
        self._failures = 0
        self._avoided, self._grace = "", _FIRST_GRACE_SECONDS
        self._deadline = _now() + self._inference.patience

    async def find(self, error: NoaError | UpstreamError, *, waits: bool) -> Target:
        """The next target after `error`, from a fresh snapshot; `waits` for one until the deadline.

        Raises the NoaError that is the request's answer when there is none.
        """
        shared, inference = self._shared, self._inference
        await self._refresh(error, waits)
        while True:
            until = self._deadline
            try:
                target = shared.resolver.resolve(shared.snapshots.current, inference)
            except ColdModel as cold:
                if not waits:
                    raise
                key = cold.key
            else:
                if not waits:
                    return target
                usable = self._is_usable(target)
                if usable and (inference.death is None or shared.loader.may_retry(inference.death)):
                    return target
                key = target.key
                if not usable:
                    until = min(until, self._retry_at)
            if _now() >= self._deadline:
                raise shared.pending.timed_out(key, inference.patience)
            await self._wait(key, until)

    def end(self) -> None:
        """The request has its answer, or its client has left."""
        if self._place is not None:
            self._shared.pending.leave(self._place)
            self._place = None

    async def _refresh(self, error: NoaError | UpstreamError, waits: bool) -> None:
        shared, record = self._shared, self._inference.call.record
        if not isinstance(error, (ModelNotFound, ModelNotLoaded)):
            self._avoid(record.instance_id)
            await shared.snapshots.refresh(f"{record.model_key}: {error}")
        elif waits and isinstance(error, ColdModel):
            pass  # each new snapshot wakes a waiting request
        elif not await shared.refresher.refresh(f"{self._inference.body.model[:80]!r} is not served"):
            raise error

    def _avoid(self, instance_id: str) -> None:
        self._avoided = instance_id
        self._retry_at = _now() + self._grace
        self._grace = min(2 * self._grace, _LAST_GRACE_SECONDS)

    def _is_usable(self, target: Target) -> bool:
        return target.instance_id != self._avoided or self._retry_at <= _now() < self._deadline

    async def _wait(self, key: str, until: float) -> None:
        """Waits for a new snapshot, at most until `until`. Raises the error that ends the wait."""
        shared, call = self._shared, self._inference.call
        if self._place is None or self._place.queue.key != key:
            self.end()
            permission = permission_of(shared.snapshots.current, key, call.record.route, call.key)
            self._place = shared.pending.enter(key, permission, call.record.request_id)
        # uvloop's time stands still within one iteration of the loop.
        began = time.perf_counter()
        try:
            await shared.pending.pause(self._place, until)
        except NoaError:
            # The load failed or is not permitted: the request does not wait again, whatever the error.
            self._deadline = _now()
            raise
        finally:
            waited = (time.perf_counter() - began) * 1000
            call.record.load_wait_ms = (call.record.load_wait_ms or 0.0) + waited
            self._inference.watch.resume()


def permission_of(snapshot: Snapshot, key: str, route: str, api_key: KeyEntry) -> Permission:
    """What a request may trigger for the model `key`: what the model, the route and the API key all allow."""
    model = snapshot.models.get(key)
    if model is None:
        return NOTHING
    return model.permission & snapshot.permissions.get(route, EVERYTHING) & api_key.permission


def _now() -> float:
    return asyncio.get_running_loop().time()
