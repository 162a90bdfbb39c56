"""Leaving an answer before its usage does not pass the limits of a key: one request above them, at most."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models_app.domain.traffic.limits import KeyLimits
from models_app.gateway.calls import redis_limits
from models_app.gateway.calls.limiting import Limiter
from models_app.gateway.calls.redis_limits import RedisCounters
from tests.fakes.token_server import TokenServer
from tests.gateway import leavers
from tests.gateway.leavers import ANTHROPIC, LIMITS, ONE, OPENAI, PLACES, Way
from tests.gateway.wire import Served
from tests.servers.redis import RedisServer

CLIENTS, AT_ONCE = 40, 8
CASES = [
    pytest.param(endpoint, model, stream, id=f"{endpoint}-{model.partition(':')[0]}-{'stream' if stream else 'whole'}")
    for endpoint, model, stream in (
        ("chat/completions", OPENAI, True),
        ("chat/completions", OPENAI, False),
        ("chat/completions", ANTHROPIC, True),
        ("completions", OPENAI, True),
        ("embeddings", OPENAI, False),
        ("messages", OPENAI, True),
        ("messages", ANTHROPIC, True),
        ("responses", OPENAI, True),
    )
]


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: TokenServer) -> Iterator[list[Served]]:
    with leavers.gateways(server, [Limiter()]) as served:
        yield served


@pytest.fixture(scope="module")
def shared(server: TokenServer) -> Iterator[list[Served]]:
    """Two gateways that count in one Redis."""
    with RedisServer() as redis, pytest.MonkeyPatch.context() as patch:
        # Beside other tests a process can be delayed for longer than a request should wait.
        patch.setattr(redis_limits, "TIMEOUT_SECONDS", 10.0)
        limiters = [Limiter(RedisCounters(redis.url()), failures=redis_limits.Failure) for _ in range(2)]
        with leavers.gateways(server, limiters) as served:
            yield served


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize(("endpoint", "model", "stream"), CASES)
def test_of_one_process(
    alone: list[Served], server: TokenServer, endpoint: str, model: str, stream: bool, limits: KeyLimits
) -> None:
    for place in PLACES if stream else PLACES[:1]:
        _check(alone, server, Way(endpoint, model, place, stream), limits)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize(
    "way", [Way("chat/completions", OPENAI, "hold_mid", True), Way("messages", OPENAI, "hold_before_headers", False)]
)
def test_of_two_processes(shared: list[Served], server: TokenServer, way: Way, limits: KeyLimits) -> None:
    _check(shared, server, way, limits)


def _check(served: list[Served], server: TokenServer, way: Way, limits: KeyLimits) -> None:
    spent = leavers.storm(served, server, way, limits, clients=CLIENTS, at_once=AT_ONCE)
    assert 0 < server.requests < CLIENTS
    assert leavers.overspent(spent, limits) <= ONE
