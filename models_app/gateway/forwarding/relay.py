"""Resolve, then forward: a loop over the decisions of `domain.traffic.retries`."""

from __future__ import annotations

from typing import NoReturn

from models_app.domain.errors import Draining, ModelNotFound, ModelNotLoaded, NoaError, ProviderError
from models_app.domain.residency.demand import ColdModel
from models_app.domain.traffic.retries import Decision, Failure, Situation, decide
from models_app.domain.traffic.routing import Target
from models_app.gateway.forwarding.remote import Remote
from models_app.gateway.forwarding.runners import Runners, as_answer
from models_app.gateway.http.errors import ServerStopping
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.refreshing import SnapshotSource
from models_app.gateway.routing.resolving import ModelUnable, Resolver, target_of
from models_app.gateway.routing.searching import Search, SearchContext
from models_app.gateway.upstream.connection import Refused, UpstreamError

# The fields of a record that describe the target.
_OF_THE_TARGET = ("model_key", "provider", "instance_id", "version", "node")


class Relay:
    """Shared by all requests of a process."""

    def __init__(
        self, snapshots: SnapshotSource, resolver: Resolver, context: SearchContext, remote: Remote, runners: Runners
    ) -> None:
        self._snapshots = snapshots
        self._resolver = resolver
        self._context = context
        self._remote = remote
        self._runners = runners

    async def forward(self, inference: Inference) -> None:
        """Answers the call, or raises the NoaError that is its answer."""
        try:
            target = self._resolver.resolve(self._snapshots.current, inference)
            # `_serve` inlined: most requests end here.
            if target.remote is None:
                await self._runners.serve(inference, target)
            else:
                await self._remote.serve(inference, target, target.remote)
        except (NoaError, UpstreamError) as error:
            await self._recover(inference, error)

    async def _recover(self, inference: Inference, error: NoaError | UpstreamError) -> None:
        """Retries, waits or falls back after the first attempt failed. Raises the NoaError that is the answer."""
        search = Search(self._context, inference)
        try:
            while (decision := decide(search.situation(failure_of(error)))) is not Decision.ANSWER:
                if decision is Decision.FALLBACK:
                    if await self._fall_back(inference, search.fallbacks):
                        return
                    # Only a cold model can still answer.
                    if not isinstance(error, ColdModel):
                        break
                    search.restart()
                    continue
                try:
                    target = await search.find(error, waits=decision is Decision.WAIT)
                    await self._serve(inference, target)
                except (NoaError, UpstreamError) as failure:
                    error = failure
                else:
                    return
            _raise(error)
        finally:
            search.end()
            self._runners.give_up(inference)

    async def _fall_back(self, inference: Inference, fallbacks: tuple[str, ...]) -> bool:
        """Tries the route's fallbacks in order, each once. False when none answers: the record is then restored."""
        record = inference.call.record
        first = [getattr(record, name) for name in _OF_THE_TARGET]
        snapshot = self._snapshots.current
        for model in [snapshot.models[key] for key in fallbacks if key in snapshot.models]:
            try:
                target = target_of(model, inference.endpoint, record)
                inference.call.fallbacks += 1
                await self._serve(inference, self._resolver.least_busy(target, snapshot, record))
            except ModelUnable:
                continue
            except (NoaError, UpstreamError) as error:
                # Judged as a second failure: a fallback is tried once.
                failed = Situation(failure_of(error), inference.call.started, failures=2, deaths=2, has_fallbacks=True)
                if decide(failed) is not Decision.FALLBACK:
                    _raise(error)
            else:
                return True
        for name, value in zip(_OF_THE_TARGET, first, strict=True):
            setattr(record, name, value)
        return False

    async def _serve(self, inference: Inference, target: Target) -> None:
        """Raises the errors of `Remote.serve` and `Runners.serve`."""
        if target.remote is None:
            await self._runners.serve(inference, target)
        else:
            await self._remote.serve(inference, target, target.remote)


def failure_of(error: NoaError | UpstreamError) -> Failure:
    """The failure as the retry rules name it; UpstreamErrors are a runner's, before the client's answer started."""
    if isinstance(error, UpstreamError):
        return Failure.NOT_BEGUN if isinstance(error, Refused) else Failure.RUNNER_DIED
    if isinstance(error, ColdModel):
        return Failure.COLD
    if isinstance(error, (ModelNotFound, ModelNotLoaded)):
        return Failure.UNKNOWN
    if isinstance(error, Draining) and not isinstance(error, ServerStopping):
        return Failure.NOT_BEGUN
    # Also ProviderAuthFailed, which is not retryable: another provider has other credentials.
    if error.retryable or isinstance(error, ProviderError):
        return Failure.TRANSIENT
    return Failure.FINAL


def _raise(error: NoaError | UpstreamError) -> NoReturn:
    if isinstance(error, UpstreamError):
        raise as_answer(error) from error
    raise error
