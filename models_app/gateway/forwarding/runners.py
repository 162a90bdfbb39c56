"""Forwards requests to runners of local models, here and on other nodes: one attempt at a time."""

from __future__ import annotations

from collections.abc import Coroutine

from models_app.domain.errors import Draining, EngineError, NoaError, RunnerDied, Unavailable
from models_app.domain.residency.suspects import Death
from models_app.domain.traffic.routing import Target
from models_app.gateway.calls.meter import Meter
from models_app.gateway.dialects import usage
from models_app.gateway.dialects.streams import ErrorEvent, json_error
from models_app.gateway.forwarding import exchanges, streaming
from models_app.gateway.http import errors
from models_app.gateway.routing.inference import Inference
from models_app.gateway.routing.least_busy import LeastBusy
from models_app.gateway.routing.model_loader import ModelLoader
from models_app.gateway.routing.pending import queue_full
from models_app.gateway.upstream.connection import (
    Broken,
    ClosedEarly,
    Connection,
    Malformed,
    Refused,
    UpstreamError,
)
from models_app.gateway.upstream.nodes import Nodes
from models_app.gateway.upstream.upstream import Upstream, Witness

# Draining, and the restart of a runner, are over with the next snapshot.
_SOON_RETRY_AFTER = 1


class _Counted(Witness):
    """Asks the runner for the usage of a request that was cancelled before its answer began."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def sent(self) -> None:
        self._meter.sent()

    async def left(self, connection: Connection) -> None:
        rest = await connection.leave(streaming.LEAVE_SECONDS, announce=True)
        counts = usage.counts_in(rest)
        if counts.completion is not None or self._meter.claim.answer == 0:
            self._meter.whole(counts, b"")


class ConcurrencyLimit:
    """Bounds the requests of each model in its runner and the runner's queue, which keeps answers prompt."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside: dict[str, int] = {}

    def enter(self, key: str) -> None:
        """Counts one request until `leave`. Raises Unavailable at the limit."""
        inside = self._inside.get(key, 0)
        if inside >= self._limit:
            raise queue_full(key, self._limit, 1)
        self._inside[key] = inside + 1

    def leave(self, key: str) -> None:
        self._inside[key] -= 1


class Runners:
    """Shared by all requests of a process: the connections to runners."""

    def __init__(
        self,
        upstream: Upstream,
        nodes: Nodes,
        least_busy: LeastBusy,
        concurrency: ConcurrencyLimit,
        loader: ModelLoader,
    ) -> None:
        self._upstream = upstream
        self._nodes = nodes
        self._least_busy = least_busy
        self._concurrency = concurrency
        self._loader = loader

    async def serve(self, inference: Inference, target: Target) -> None:
        """Answers the call, or raises the NoaError that is its answer.

        Raises an UpstreamError or Draining when no part of an answer was sent to the client; Refused and Draining mean
        that the runner did no work on the request.
        """
        if inference.watch.limits is not None:
            inference.watch.restart(None)
        self._concurrency.enter(target.key)
        try:
            if target.copies == 1:
                await self._exchange(inference, target)
            else:
                with self._least_busy.serving(target):
                    await self._exchange(inference, target)
        except (ClosedEarly, Broken) as error:
            inference.call.meter.was_cut = True
            self._least_busy.avoid(target)
            self._report_death(inference, target)
            if inference.call.started:
                raise as_answer(error) from error
            raise
        except (Refused, Draining):
            self._least_busy.avoid(target)
            raise
        except UpstreamError as error:
            raise as_answer(error) from error
        finally:
            self._concurrency.leave(target.key)
        if inference.death is not None:
            self._loader.retried(inference.death, survived=True)
            inference.death = None

    def give_up(self, inference: Inference) -> None:
        """Ends the trial of a request whose runner died: it is not repeated, or its repeat failed."""
        if inference.death is not None:
            self._loader.retried(inference.death, survived=False)
            inference.death = None

    def _exchange(self, inference: Inference, target: Target) -> Coroutine[None, None, None]:
        if inference.endpoint.dialect is not None:
            return self._serve_translated(inference, target)
        return self._serve_plain(inference, target)

    async def _serve_plain(self, inference: Inference, target: Target) -> None:
        request = _request(inference, inference.body.raw)
        connection = await self._attempt(inference, target, request)
        try:
            await streaming.runner_answer(inference, connection)
        finally:
            self._upstream.release(connection)

    async def _serve_translated(self, inference: Inference, target: Target) -> None:
        """For a client with another dialect than the runner's."""
        meter = inference.call.meter
        exchange = exchanges.to_runner(inference.endpoint, inference.body, target, meter.watch)
        request = _request(inference, exchange.body)
        connection = await self._attempt(inference, target, request)
        try:
            if connection.status >= 400:
                meter.free()
                error = json_error(await connection.read_whole(streaming.HOLD_BYTES))
                raise errors.of_status(connection.status)(
                    str(error.get("message") or "The model's runner refused the request."),
                    code=error.get("code"),
                    param=error.get("param"),
                )
            await streaming.exchanged(inference, connection, exchange)
        except ErrorEvent as event:
            raise EngineError(str(event.error.get("message")), code=event.error.get("code")) from None
        finally:
            self._upstream.release(connection)

    async def _attempt(self, inference: Inference, target: Target, request: bytes) -> Connection:
        call = inference.call
        call.record.attempts += 1
        call.meter.begin(target.price, is_runner=True, shows=inference.body.stream)
        witness = _Counted(call.meter)
        if target.address:
            connection = await self._nodes.send(self._upstream, target, request, witness)
        else:
            connection = await self._upstream.send(target.socket, request, witness=witness)
        if connection.status != 503:
            return connection
        call.meter.free()
        return await self._unless_draining(connection)

    async def _unless_draining(self, connection: Connection) -> Connection:
        """Raises Draining when the runner reports that it did no work; otherwise returns its answer, unread."""
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

    def _report_death(self, inference: Inference, target: Target) -> None:
        """The runner exited, or closed the connection, with this request in it, which can be the cause of a crash."""
        self.give_up(inference)
        request_id = inference.call.record.request_id
        inference.death = Death(target.key, target.instance_id, inference.digest(), request_id)
        self._loader.died(inference.death)


def as_answer(error: UpstreamError) -> NoaError:
    """The client's error for a runner that gave no answer."""
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
        f"The model's runner gave an answer that cannot be forwarded: {error}.",
        code="malformed_answer",
    )


def _request(inference: Inference, body: bytes) -> bytes:
    """The bytes of a whole request to a runner."""
    record = inference.call.record
    return b"%b%b\r\nX-NOA-Request: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        inference.head,
        record.public_id.encode("ascii"),
        record.request_id.encode("ascii"),
        len(body),
        body,
    )
