"""Asks runners of local models, here and on other nodes: one attempt at a time."""

from __future__ import annotations

from collections.abc import Coroutine

from models_app.domain.errors import Draining, EngineError, NoaError, RunnerDied, Unavailable
from models_app.domain.residency import suspects
from models_app.domain.residency.suspects import Death
from models_app.domain.traffic.routing import Target
from models_app.gateway.calls.call import Call
from models_app.gateway.dialects.streams import ErrorEvent, json_error
from models_app.gateway.forwarding import exchanges, streaming
from models_app.gateway.http import errors
from models_app.gateway.routing.balance import Balance
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.pending import Crowd, Loads
from models_app.gateway.upstream.connection import (
    Broken,
    ClosedEarly,
    Connection,
    Malformed,
    Refused,
    UpstreamError,
)
from models_app.gateway.upstream.nodes import Nodes
from models_app.gateway.upstream.upstream import Upstream

# Draining, and the restart of a runner, are over with the next snapshot.
_SOON_RETRY_AFTER = 1


class Runners:
    """Shared by all requests of a process: the connections to runners."""

    def __init__(self, upstream: Upstream, nodes: Nodes, balance: Balance, crowd: Crowd, loads: Loads) -> None:
        self._upstream = upstream
        self._nodes = nodes
        self._balance = balance
        self._crowd = crowd
        self._loads = loads

    async def serve(self, inference: Inference, target: Target) -> None:
        """Answers the call, or raises the NoaError that is its answer.

        Raises an UpstreamError or Draining when there is no answer and the client has heard nothing; Refused and
        Draining mean that the runner has not begun with it.
        """
        if inference.watch.limits is not None:
            inference.watch.restart(None)
        self._crowd.enter(target.key)
        try:
            if target.copies == 1:
                await self._exchange(inference, target)
            else:
                with self._balance.serving(target):
                    await self._exchange(inference, target)
        except (ClosedEarly, Broken) as error:
            self._balance.avoid(target)
            self._tell_of_death(inference, target)
            if inference.call.started:
                raise as_answer(error) from error
            raise
        except (Refused, Draining):
            self._balance.avoid(target)
            raise
        except UpstreamError as error:
            raise as_answer(error) from error
        finally:
            self._crowd.leave(target.key)
        if inference.death is not None:
            self._loads.tried(inference.death, survived=True)
            inference.death = None

    def give_up(self, inference: Inference) -> None:
        """A request that was in a runner when that died is not asked once more, or was in vain."""
        if inference.death is not None:
            self._loads.tried(inference.death, survived=False)
            inference.death = None

    def _exchange(self, inference: Inference, target: Target) -> Coroutine[None, None, None]:
        if inference.endpoint.dialect is not None:
            return self._serve_translated(inference, target)
        return self._serve_plain(inference, target)

    async def _serve_plain(self, inference: Inference, target: Target) -> None:
        request = inference.to_runner(inference.asked.raw)
        connection = await self._attempt(inference.call, target, request)
        try:
            await streaming.runner_answer(inference, connection, target.price)
        finally:
            self._upstream.release(connection)

    async def _serve_translated(self, inference: Inference, target: Target) -> None:
        """A client who speaks another dialect than the runner."""
        exchange = exchanges.to_runner(inference.endpoint, inference.asked, target)
        request = inference.to_runner(exchange.body)
        connection = await self._attempt(inference.call, target, request)
        try:
            if connection.status >= 400:
                said = json_error(await connection.read_whole(streaming.HOLD_BYTES))
                raise errors.of_status(connection.status)(
                    str(said.get("message") or "The model's runner refused the request."),
                    code=said.get("code"),
                    param=said.get("param"),
                )
            await streaming.exchanged(inference, connection, exchange, target.price)
        except ErrorEvent as event:
            raise EngineError(str(event.said.get("message")), code=event.said.get("code")) from None
        finally:
            self._upstream.release(connection)

    async def _attempt(self, call: Call, target: Target, request: bytes) -> Connection:
        call.record.attempts += 1
        if target.address:
            connection = await self._nodes.ask(self._upstream, target, request)
        else:
            connection = await self._upstream.ask(target.socket, request)
        if connection.status != 503:
            return connection
        return await self._unless_draining(connection)

    async def _unless_draining(self, connection: Connection) -> Connection:
        """Raises Draining when the runner says that it computed nothing; otherwise its answer as it is."""
        try:
            body = await connection.read_whole(streaming.HOLD_BYTES)
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

    def _tell_of_death(self, inference: Inference, target: Target) -> None:
        """The runner ended, or hung up, with this request in it: if it crashed, the request may be why."""
        self.give_up(inference)
        digest = suspects.digest(inference.endpoint.path, inference.asked.raw)
        request_id = inference.call.record.request_id
        inference.death = Death(target.key, target.instance_id, digest, request_id)
        self._loads.died(inference.death)


def as_answer(error: UpstreamError) -> NoaError:
    """What the client is told of a runner that gave no answer."""
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
