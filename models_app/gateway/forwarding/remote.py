"""Forwards requests to providers, retries where that is safe, and updates their circuits."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from functools import lru_cache

from models_app import clocks
from models_app.domain.errors import NoaError, ProviderAuthFailed, ProviderError
from models_app.domain.traffic.retries import Decision, Failure, Situation, decide
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.gateway.calls.meter import Meter
from models_app.gateway.dialects import passing
from models_app.gateway.dialects.streams import ErrorEvent
from models_app.gateway.forwarding import exchanges, faults, streaming
from models_app.gateway.forwarding.circuits import Attempt, Circuit, Circuits
from models_app.gateway.forwarding.exchanges import Exchange
from models_app.gateway.forwarding.faults import Fault, Verdict
from models_app.gateway.http.request_body import Limits
from models_app.gateway.routing.inference import Inference
from models_app.gateway.upstream.connection import (
    ClosedEarly,
    Connection,
    Malformed,
    Redirected,
    Refused,
    UpstreamError,
)
from models_app.gateway.upstream.dialing import Dialer, Origin
from models_app.gateway.upstream.upstream import Upstream, Witness
from models_app.providers.wire import credentials, refusals

# With these a server, or a proxy in front of it, gives up waiting for work that goes on and is paid for.
_TOO_LATE = frozenset({408, 504, 524})


class _Sent(Witness):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def sent(self) -> None:
        self._meter.sent()


# A server sends an error at once, status and body together.
_ERROR_BODY_SECONDS = 3.0


class Remote:
    """Shared by all requests of a process."""

    def __init__(self, upstream: Upstream, limits: Limits, circuits: Circuits, dialer: Dialer) -> None:
        self._upstream = upstream
        self._limits = limits
        self._circuits = circuits
        self._dialer = dialer

    async def serve(self, inference: Inference, target: Target, remote: RemoteEndpoint) -> None:
        """Answers the call, or raises the NoaError that is its answer."""
        watch = inference.watch
        circuit = self._circuits.of(remote)
        exchange = _exchange(inference, remote, circuit)
        attempt = circuit.admit(remote.model_id, inference.call.key.key_id, inference.body.raw, _now())
        watch.restart(self._watched(remote))
        try:
            exchange, connection = await self._begin_answer(inference, target, circuit, attempt, exchange)
            try:
                await streaming.exchanged(inference, connection, exchange)
            except (UpstreamError, ErrorEvent, ProviderError) as error:
                if isinstance(error, ErrorEvent) and not inference.call.meter.produced.pieces:
                    inference.call.meter.free()
                fault = faults.in_answer(error, remote)
                attempt.learn(fault, _now())
                raise fault.error from error
            finally:
                self._upstream.release(connection)
        except asyncio.CancelledError:
            if isinstance(watch.verdict, NoaError):
                attempt.broke(watch.verdict.message, _now())
            raise
        finally:
            attempt.end()

    async def _begin_answer(
        self, inference: Inference, target: Target, circuit: Circuit, attempt: Attempt, exchange: Exchange
    ) -> tuple[Exchange, Connection]:
        """An answer that has begun with a good status. Retries when the provider did no work."""
        remote, meter = target.remote, inference.call.meter
        assert remote is not None
        failures = 0
        is_reduced = False
        while True:
            inference.call.record.attempts += 1
            meter.begin(target.price, is_runner=False, shows=inference.body.stream)
            try:
                connection = await self._attempt(remote, exchange, meter)
            except Fault as fault:
                attempt.learn(fault, _now())
                if exchange.adds_stream_options and _is_about_stream_options(fault):
                    is_reduced = True
                    exchange = _exchange(inference, remote, circuit, reduced=True)
                    continue
                failures += 1
                if fault.wait is None or not _may_repeat(failures) or not attempt.may_retry():
                    raise fault.error from fault
                await asyncio.sleep(fault.wait)
            else:
                attempt.began(_now())
                # The answer without the field shows that the field was refused, and not something else in the request.
                circuit.takes_stream_options = circuit.takes_stream_options and not is_reduced
                return exchange, connection

    async def _attempt(self, remote: RemoteEndpoint, exchange: Exchange, meter: Meter) -> Connection:
        """Raises Fault unless the answer has begun and its status is good."""
        seconds = _or_default(remote.first_byte_seconds, self._limits.first_byte_seconds)
        try:
            async with clocks.timeout(seconds):
                connection = await self._send(remote, exchange, meter)
        except TimeoutError:
            raise faults.timed_out(remote, seconds) from None
        except UpstreamError as error:
            meter.was_cut = isinstance(error, ClosedEarly)
            if isinstance(error, Refused | Redirected):
                meter.free()
            raise faults.from_connection(error, remote) from error
        if connection.status < 300:
            return connection
        body = await _error_body(connection)
        self._upstream.release(connection)
        if connection.status not in _TOO_LATE:
            meter.free()
        raise faults.from_answer(connection.status, connection.headers, body, remote)

    async def _send(self, remote: RemoteEndpoint, exchange: Exchange, meter: Meter) -> Connection:
        """Waits for the first byte of the body: a break before it fails this attempt only, not the answer."""
        origin = _origin(remote.base_url, remote.allow_private)
        seconds = _or_default(remote.connect_seconds, self._limits.connect_seconds)
        connection = await self._upstream.send(
            origin.pool(remote.provider),
            _head(remote, origin, exchange) + exchange.body,
            lambda factory: self._dialer.connect(origin, lambda: _lenient(factory()), seconds),
            _Sent(meter),
        )
        try:
            if connection.status < 300:
                if connection.unreadable:
                    raise Malformed(f"it is {_compressed(connection)}")
                await connection.begun()
        except BaseException:
            connection.abort()
            raise
        return connection

    def _watched(self, remote: RemoteEndpoint) -> Limits:
        """Limits without one for the first byte: each attempt has its own, so that a fallback can follow."""
        limits = self._limits
        return dataclasses.replace(
            limits,
            first_byte_seconds=math.inf,
            idle_seconds=_or_default(remote.idle_seconds, limits.idle_seconds),
            total_seconds=_or_default(remote.total_seconds, limits.total_seconds),
        )


def _lenient(connection: Connection) -> Connection:
    connection.is_lenient = True
    return connection


def _exchange(inference: Inference, remote: RemoteEndpoint, circuit: Circuit, *, reduced: bool = False) -> Exchange:
    """`reduced` leaves out `stream_options` for this request only."""
    options = circuit.takes_stream_options and not reduced
    watcher = inference.call.meter.watch
    exchange = exchanges.to_provider(inference.endpoint, inference.body, remote, watcher, stream_options=options)
    if passing.takes(remote.kind, inference.endpoint.dialect):
        exchange.headers = inference.passed
    return exchange


def _head(remote: RemoteEndpoint, origin: Origin, exchange: Exchange) -> bytes:
    """The whole head of a request: of the client's headers it has those of the allow-list only."""
    key = remote.api_key
    if not (key.isascii() and key.isprintable()):
        raise ProviderAuthFailed(
            f"The secret of the provider '{remote.provider}' holds characters that cannot be sent. "
            "Have an operator enter it again.",
            details={"provider": remote.provider},
        )
    return "\r\n".join(
        (
            f"POST {origin.prefix}{exchange.path} HTTP/1.1",
            f"Host: {origin.authority}",
            *(f"{name}: {value}" for name, value in (credentials.headers(remote) | dict(exchange.headers)).items()),
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "Accept-Encoding: identity",
            "User-Agent: noa",
            f"Content-Length: {len(exchange.body)}\r\n\r\n",
        )
    ).encode("ascii")


def _compressed(connection: Connection) -> str:
    return f"compressed with '{connection.unreadable}', against 'Accept-Encoding: identity'"


async def _error_body(connection: Connection) -> bytes:
    """The body of an error, or as much of it as arrives soon: the status alone is enough. Longer ones are cut."""
    if connection.unreadable:
        return f"(Its reason cannot be read: it is {_compressed(connection)}.)".encode()
    parts: list[bytes] = []
    size = 0
    try:
        async with clocks.timeout(_ERROR_BODY_SECONDS):
            while size < refusals.MAX_BYTES and (data := await connection.read()):
                parts.append(data)
                size += len(data)
    except (TimeoutError, UpstreamError):
        pass
    except BaseException:
        connection.abort()
        raise
    return b"".join(parts)


def _may_repeat(failures: int) -> bool:
    return decide(Situation(Failure.PROVIDER_IDLE, failures=failures)) is Decision.AGAIN


def _is_about_stream_options(fault: Fault) -> bool:
    return fault.verdict is Verdict.REFUSED_REQUEST and "stream_options" in fault.error.message


@lru_cache(maxsize=256)
def _origin(base_url: str, allow_private: bool) -> Origin:
    return Origin.of(base_url, allow_private)


def _or_default(seconds: float | None, default: float) -> float:
    return default if seconds is None else seconds


def _now() -> float:
    return asyncio.get_running_loop().time()
