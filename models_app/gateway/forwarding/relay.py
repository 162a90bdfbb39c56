"""Finds who is to answer a request, asks, and turns to the next one when that fails before the client heard of it."""

from __future__ import annotations

from models_app.domain.errors import (
    Draining,
    ModelNotFound,
    ModelNotLoaded,
    NoaError,
    ProviderError,
)
from models_app.domain.residency.demand import ColdModel
from models_app.domain.traffic.routing import Target
from models_app.gateway.forwarding.remote import Remote
from models_app.gateway.forwarding.runners import Runners, as_answer
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.resolving import Search, Seeker, SnapshotSource
from models_app.gateway.routing.targets import ModelUnable, target_of
from models_app.gateway.upstream.connection import Broken, ClosedEarly, Refused, UpstreamError

# What a record says of who was asked.
_OF_THE_TARGET = ("model_key", "provider", "instance_id", "version", "node")


class Relay:
    """Shared by all requests of a process."""

    def __init__(self, snapshots: SnapshotSource, remote: Remote, runners: Runners, seeker: Seeker) -> None:
        self._snapshots = snapshots
        self._remote = remote
        self._runners = runners
        self._seeker = seeker

    async def forward(self, inference: Inference) -> None:
        """Answers the call, or raises the NoaError that is its answer."""
        try:
            await self._first(inference)
        except NoaError as error:
            call = inference.call
            fallbacks = self._snapshots.current.fallbacks.get(call.record.route)
            if not fallbacks or call.started or not _may_fall_back(error):
                raise
            if await self._fall_back(inference, fallbacks):
                return
            if not isinstance(error, ColdModel):
                raise
            await self._again(inference, error, inference.patience)
        finally:
            if inference.death is not None:
                self._runners.give_up(inference)

    async def _first(self, inference: Inference) -> None:
        """Asks what the name leads to. Where that is gone, looks at what is true now, and asks once more."""
        snapshot = self._snapshots.current
        try:
            target = self._seeker.choose(snapshot, inference)
            # As `_serve`, without a call between: most requests come no further.
            if target.remote is None:
                await self._runners.serve(inference, target)
            else:
                await self._remote.serve(inference, target, target.remote)
        except (ModelNotFound, ModelNotLoaded, Draining, UpstreamError) as error:
            # Whom another model can answer does not wait for this one.
            waits = inference.call.record.route not in snapshot.fallbacks
            await self._again(inference, error, inference.patience if waits else 0.0)

    async def _again(self, inference: Inference, error: NoaError | UpstreamError, patience: float) -> None:
        """Asks what there is after `error`, and waits up to `patience` seconds for it.

        A runner that has not begun with the request has not been asked: while there is time, another is waited for. One
        that ended with it counts: it is asked once more only.
        """
        search = Search.begin(patience)
        was_in_one = isinstance(error, (ClosedEarly, Broken))
        try:
            while True:
                target = await self._seeker.find(inference, error, search)
                try:
                    await self._serve(inference, target)
                    return
                except (Refused, Draining) as again:
                    if search.is_over:
                        raise
                    error = again
                except (ClosedEarly, Broken) as again:
                    if was_in_one or search.is_over:
                        raise
                    was_in_one, error = True, again
        except UpstreamError as last:
            raise as_answer(last) from last
        finally:
            self._seeker.end(search)

    async def _fall_back(self, inference: Inference, fallbacks: tuple[str, ...]) -> bool:
        """Asks the route's fallbacks in their order. False when none answers; the record is then that of the target."""
        record = inference.call.record
        asked_first = [getattr(record, name) for name in _OF_THE_TARGET]
        snapshot = self._snapshots.current
        for model in [snapshot.models[key] for key in fallbacks if key in snapshot.models]:
            try:
                target = target_of(model, inference.endpoint, record)
                await self._serve_last(inference, self._seeker.one_of(target, snapshot, inference))
                return True
            except ModelUnable:
                continue
            except NoaError as error:
                if inference.call.started or not _may_fall_back(error):
                    raise
        for name, value in zip(_OF_THE_TARGET, asked_first, strict=True):
            setattr(record, name, value)
        return False

    async def _serve_last(self, inference: Inference, target: Target) -> None:
        try:
            await self._serve(inference, target)
        except UpstreamError as error:
            raise as_answer(error) from error

    async def _serve(self, inference: Inference, target: Target) -> None:
        """Raises what `Remote.serve` or `Runners.serve` raise."""
        if target.remote is None:
            await self._runners.serve(inference, target)
        else:
            await self._remote.serve(inference, target, target.remote)


def _may_fall_back(error: NoaError) -> bool:
    """Whether another model may succeed with the same request."""
    return error.retryable or isinstance(error, ProviderError)
