"""Finds who is to answer a request, asks, and turns to the next one when that fails before the client heard of it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from models_app.domain.errors import (
    Draining,
    EngineError,
    ModelNotFound,
    ModelNotLoaded,
    NoaError,
    ProviderError,
    RunnerDied,
    Unavailable,
)
from models_app.domain.routing import Snapshot, Target
from models_app.gateway import errors, exchanges, passing
from models_app.gateway.balance import Balance
from models_app.gateway.call import Call
from models_app.gateway.connection import (
    Broken,
    ClosedEarly,
    Connection,
    Malformed,
    Refused,
    UpstreamError,
)
from models_app.gateway.inference import Inference
from models_app.gateway.nodes import Nodes
from models_app.gateway.remote import Remote
from models_app.gateway.streams import ErrorEvent, json_error
from models_app.gateway.targets import ModelUnable, choose, note_target, target_of
from models_app.gateway.upstream import Upstream

# Draining, and the restart of a runner, are over with the next snapshot.
_SOON_RETRY_AFTER = 1
# How often a name that the snapshot cannot serve may cause a look at the source.
_MISS_SECONDS = 0.5
# What a record says of who was asked.
_OF_THE_TARGET = ("model_key", "provider", "instance_id", "version", "node")


class SnapshotSource(Protocol):
    """Where the gateway looks. `current` is read for every request, so it must cost nothing.

    `refresh` fetches a newer snapshot, replaces `current` and returns it; `reason` is for the log. Many requests may
    call it at once, and a caller may be cancelled while it waits.
    """

    @property
    def current(self) -> Snapshot: ...

    async def refresh(self, reason: str) -> Snapshot: ...


class Relay:
    """Shared by all requests of a process: the connections, and where to look for targets."""

    def __init__(
        self, snapshots: SnapshotSource, upstream: Upstream, remote: Remote, nodes: Nodes
    ) -> None:
        self._snapshots = snapshots
        self._upstream = upstream
        self._remote = remote
        self._nodes = nodes
        self._balance = Balance(lambda: asyncio.get_running_loop().time())
        self._next_look = 0.0

    async def forward(self, inference: Inference) -> None:
        """Answers the call, or raises the NoaError that is its answer."""
        try:
            await self._first(inference)
        except NoaError as error:
            call = inference.call
            fallbacks = self._snapshots.current.fallbacks.get(call.record.route)
            if not fallbacks or call.started or not _may_fall_back(error):
                raise
            await self._fall_back(inference, fallbacks, error)

    async def _first(self, inference: Inference) -> None:
        """Asks what the name leads to. A runner that is gone makes it look at what is true now, and ask once more."""
        call, snapshot = inference.call, self._snapshots.current
        try:
            target = choose(
                snapshot, inference.endpoint, inference.asked.model, call.record, call.key
            )
        except (ModelNotFound, ModelNotLoaded) as error:
            target = await self._look_again(inference, error)
        if target.copies > 1:
            target = self._one_of(target, inference)
        try:
            await self._serve(inference, target)
            return
        except (Refused, ClosedEarly, Draining) as error:
            self._balance.avoid(target)
            snapshot = await self._snapshots.refresh(f"{target.key}: {error}")
        target = self._one_of(_choose(snapshot, inference), inference)
        await self._serve_last(inference, target)

    def _one_of(self, target: Target, inference: Inference) -> Target:
        """The least busy copy of a model that has several."""
        entry = self._snapshots.current.models.get(target.key)
        if entry is None or entry.target is None or not entry.others:
            return target
        found = self._balance.pick((entry.target, *entry.others))
        note_target(found, inference.call.record)
        return found

    async def _fall_back(
        self, inference: Inference, fallbacks: tuple[str, ...], first: NoaError
    ) -> None:
        """Asks the route's fallbacks in their order. When none answers, the client hears why the target did not."""
        record = inference.call.record
        asked_first = [getattr(record, name) for name in _OF_THE_TARGET]
        models = self._snapshots.current.models
        for model in [models[key] for key in fallbacks if key in models]:
            try:
                target = target_of(model, inference.endpoint, record)
                await self._serve_last(inference, self._one_of(target, inference))
                return
            except ModelUnable:
                continue
            except NoaError as error:
                if inference.call.started or not _may_fall_back(error):
                    raise
        for name, value in zip(_OF_THE_TARGET, asked_first, strict=True):
            setattr(record, name, value)
        raise first

    async def _serve_last(self, inference: Inference, target: Target) -> None:
        try:
            await self._serve(inference, target)
        except UpstreamError as error:
            raise _as_answer(error) from error

    async def _serve(self, inference: Inference, target: Target) -> None:
        """Raises Refused, ClosedEarly or Draining when a runner computed nothing, NoaError for all else."""
        if target.remote is not None:
            await self._remote.serve(inference, target, target.remote)
            return
        if inference.watch.limits is not None:
            inference.watch.restart(None)
        if target.copies == 1:
            await self._serve_local(inference, target)
            return
        with self._balance.serving(target):
            await self._serve_local(inference, target)

    async def _serve_local(self, inference: Inference, target: Target) -> None:
        if inference.endpoint.dialect is not None:
            await self._serve_translated(inference, target)
            return
        request = inference.to_runner(inference.asked.raw)
        connection = await self._attempt(inference.call, target, request)
        try:
            await passing.runner_answer(inference, connection, target.price)
        except UpstreamError as error:
            raise _as_answer(error) from error
        finally:
            self._upstream.release(connection)

    async def _serve_translated(self, inference: Inference, target: Target) -> None:
        """A client who speaks another dialect than the runner."""
        exchange = exchanges.to_runner(inference.endpoint, inference.asked, target)
        request = inference.to_runner(exchange.body)
        connection = await self._attempt(inference.call, target, request)
        try:
            if connection.status >= 400:
                said = json_error(await connection.read_whole(passing.HOLD_BYTES))
                raise errors.of_status(connection.status)(
                    str(said.get("message") or "The model's runner refused the request."),
                    code=said.get("code"),
                    param=said.get("param"),
                )
            await passing.exchanged(inference, connection, exchange, target.price)
        except ErrorEvent as event:
            raise EngineError(str(event.said.get("message")), code=event.said.get("code")) from None
        except UpstreamError as error:
            raise _as_answer(error) from error
        finally:
            self._upstream.release(connection)

    async def _attempt(self, call: Call, target: Target, request: bytes) -> Connection:
        call.record.attempts += 1
        try:
            if target.address:
                connection = await self._nodes.ask(self._upstream, target, request)
            else:
                connection = await self._upstream.ask(target.socket, request)
        except (Refused, ClosedEarly):
            raise
        except UpstreamError as error:
            raise _as_answer(error) from error
        if connection.status != 503:
            return connection
        return await self._unless_draining(connection)

    async def _unless_draining(self, connection: Connection) -> Connection:
        """Raises Draining when the runner says that it computed nothing; otherwise its answer as it is."""
        try:
            body = await connection.read_whole(passing.HOLD_BYTES)
        except UpstreamError as error:
            connection.abort()
            raise _as_answer(error) from error
        except BaseException:
            connection.abort()
            raise
        if json_error(body).get("code") != Draining.default_code:
            connection.unread(body)
            return connection
        self._upstream.release(connection)
        raise Draining(
            "The model is being unloaded and takes no new requests. Try again.",
            retry_after=_SOON_RETRY_AFTER,
        )

    async def _look_again(self, inference: Inference, error: NoaError) -> Target:
        """Looks at the source before it says no: a model may have been loaded a moment ago."""
        now = asyncio.get_running_loop().time()
        if now < self._next_look:
            raise error
        self._next_look = now + _MISS_SECONDS
        name = inference.asked.model
        return _choose(await self._snapshots.refresh(f"{name[:80]!r} is not served"), inference)


def _choose(snapshot: Snapshot, inference: Inference) -> Target:
    call = inference.call
    return choose(snapshot, inference.endpoint, inference.asked.model, call.record, call.key)


def _may_fall_back(error: NoaError) -> bool:
    """Whether another model may succeed with the same request."""
    return error.retryable or isinstance(error, ProviderError)


def _as_answer(error: UpstreamError) -> NoaError:
    if isinstance(error, Refused):
        return Unavailable(
            "The model's runner cannot be reached. It may be restarting: try again.",
            code="runner_unreachable",
            retry_after=_SOON_RETRY_AFTER,
        )
    if isinstance(error, (ClosedEarly, Broken)):
        return RunnerDied("The model's runner ended before its answer was complete. Try again.")
    assert isinstance(error, Malformed)
    return EngineError(
        f"The model's runner gave an answer that cannot be passed on: {error}.",
        code="malformed_answer",
    )
