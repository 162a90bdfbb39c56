"""Clients that leave every answer before its usage, against the limits of their key, and what their server has spent.

Used by the tests with few of them, and by `benchmarks/leavers.py` with thousands.
"""

from __future__ import annotations

import contextlib
import dataclasses
import select
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from typing import Any

from models_app.domain.catalog.pricing import Price
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import ModelEntry, RemoteEndpoint, Snapshot, Target, hash_api_key
from models_app.gateway.calls.limiting import Limiter
from tests.fakes.token_server import Spent, TokenServer
from tests.gateway.remotes import serve_remote
from tests.gateway.wire import KEY, Served, request

PRICE = Price(Decimal(10), Decimal(10))
OPENAI, ANTHROPIC = "openai:tokens", "anthropic:tokens"
WORDS, LIMIT = 200, 100
# What one request spends at most, and twice that: the limits are reached after some requests.
ONE = WORDS + 1 + LIMIT
LIMITS: dict[str, KeyLimits] = {
    "tokens_per_minute": KeyLimits(tokens_per_minute=10 * ONE),
    "monthly_tokens": KeyLimits(monthly_tokens=10 * ONE),
    "monthly_budget_usd": KeyLimits(monthly_budget_usd=10 * ONE * 10 / 1e6),
}
# Where a client leaves: before the first byte, in the middle of the stream, and at its last token.
PLACES = ("hold_before_headers", "hold_mid", "hold_before_usage")
_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Way:
    """Which request is left, and where."""

    endpoint: str
    model: str
    place: str
    stream: bool


def body_of(way: Way, mark: str) -> dict[str, Any]:
    text = f"{mark} " + "word " * WORDS
    body: dict[str, Any] = {"model": way.model, "stream": way.stream}
    if way.endpoint == "embeddings":
        return {"model": way.model, "input": text}
    if way.endpoint == "completions":
        return body | {"prompt": text, "max_tokens": LIMIT}
    if way.endpoint == "responses":
        return body | {"input": text, "max_output_tokens": LIMIT}
    return body | {"messages": [{"role": "user", "content": text}], "max_tokens": LIMIT}


@contextlib.contextmanager
def gateways(server: TokenServer, limiters: Sequence[Limiter]) -> Iterator[list[Served]]:
    """One gateway for each limiter, as web processes: a key with limits, and a provider with prices."""

    def entry(kind: ProviderKind, key: str, path: str) -> ModelEntry:
        base = f"http://127.0.0.1:{server.port}{path}"
        remote = RemoteEndpoint(kind.value, kind, base, "tokens", "sk-x", allow_private=True)
        return ModelEntry(key, "tokens", kind.value, 1, Target(key, "i", "", frozenset(), remote, price=PRICE))

    entries = (entry(ProviderKind.OPENAI, OPENAI, "/v1"), entry(ProviderKind.ANTHROPIC, ANTHROPIC, ""))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(serve_remote(*entries, limiter=limiter)) for limiter in limiters]


def limit(served: Served, key_id: str, limits: KeyLimits) -> None:
    """Gives the test's key another id, with which its counters begin at zero, and these limits."""
    found: Snapshot = served.source.current
    digest = hash_api_key(KEY)
    entry = dataclasses.replace(found.keys[digest], key_id=key_id, limits=limits)
    served.source.current = dataclasses.replace(found, keys={**found.keys, digest: entry})


def leave(served: Served, server: TokenServer, way: Way, mark: str) -> None:
    """One client that leaves when its answer is held back, or refused."""
    with served.wire() as wire:
        wire.send(request(body_of(way, mark), f"/v1/{way.endpoint}"))
        end = time.monotonic() + _SECONDS
        while mark not in server.held_marks:
            assert time.monotonic() < end, f"the request {mark} was neither refused nor held back"
            if select.select([wire.socket], [], [], 0.005)[0] and b" 429 " in wire.socket.recv(65536)[:20]:
                return


_runs = count(1)


def storm(
    served: Sequence[Served], server: TokenServer, way: Way, limits: KeyLimits, *, clients: int, at_once: int
) -> Spent:
    """So many leavers, in turn at each gateway; returns what the server has spent on them."""
    server.reset(way.place)
    run = next(_runs)
    for one in served:
        limit(one, f"leavers-{run}", limits)
    errors: list[Exception] = []
    numbers, lock = count(), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= clients or errors:
                return
            try:
                leave(served[number % len(served)], server, way, f"leaver{run}x{number}")
            except (AssertionError, OSError) as error:
                errors.append(error)

    with ThreadPoolExecutor(at_once) as pool:
        for _ in range(at_once):
            pool.submit(work)
    if errors:
        raise errors[0]
    return server.spent


def overspent(spent: Spent, limits: KeyLimits) -> int:
    """Tokens above the limit that was given."""
    allowed = limits.tokens_per_minute or limits.monthly_tokens
    if allowed is None:
        assert limits.monthly_budget_usd is not None
        allowed = round(limits.monthly_budget_usd * 1e6 / 10)
    return spent.prompt + spent.completion - allowed
