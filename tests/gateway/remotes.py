"""A gateway in front of fake providers: snapshots with remote models, and a resolver with the test's names."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from models_app.domain.catalog.pricing import Price
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.residency.breaker import BreakerState
from models_app.domain.traffic.routing import KeyEntry, ModelEntry, RemoteEndpoint, Snapshot, Target, hash_api_key
from models_app.gateway.http.request_body import Limits
from models_app.gateway.upstream.dialing import Dialer
from tests.fakes.provider_server import FakeProvider
from tests.gateway.wire import Served, serve, snapshot, wait_until

GPT = "openai:gpt-4o"
CLAUDE = "anthropic:claude-sonnet-4-5-20250929"
# API keys beside `wire.KEY`.
OTHER_KEYS = tuple(f"noa_other_key_{number}" for number in range(8))
PRICE = Price(Decimal("2.5"), Decimal("10"), cached_input=Decimal("1.25"))
# Short enough for a test that waits for them to end, long enough for a busy machine.
FAST = Limits(first_byte_seconds=0.8, idle_seconds=0.8, connect_seconds=5.0)

CHAT = {"messages": [{"role": "user", "content": "Say hello."}]}
MESSAGES = CHAT | {"max_tokens": 100}


def endpoint(fake: FakeProvider, kind: ProviderKind, model_id: str, **more: Any) -> RemoteEndpoint:
    given = {"provider": kind.value, "allow_private": True} | more
    return RemoteEndpoint(kind=kind, base_url=fake.base_url, model_id=model_id, api_key=fake.key, **given)


def entry(key: str, remote: RemoteEndpoint, *able: str, price: Price | None = PRICE) -> ModelEntry:
    """A loaded remote model; without `able` its capabilities are unknown."""
    provider, _, model_id = key.partition(":")
    target = Target(key, f"instance-{provider}", "", frozenset(able), remote, price=price)
    return ModelEntry(key, model_id, provider, 1_700_000_000, target)


def with_models(
    base: Snapshot,
    *models: ModelEntry,
    routes: dict[str, str | None] | None = None,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
) -> Snapshot:
    return replace(
        base,
        models={**base.models, **{model.key: model for model in models}},
        routes={**base.routes, **(routes or {})},
        fallbacks=fallbacks or {},
        keys={
            **base.keys,
            **{hash_api_key(key): KeyEntry(key[4:], frozenset({"infer"}), None) for key in OTHER_KEYS},
        },
    )


@dataclass
class Reported:
    """The gateway's reports of circuits."""

    reports: list[tuple[str, BreakerState, str]] = field(default_factory=list)

    def __call__(self, provider: str, state: BreakerState, reason: str) -> None:
        self.reports.append((provider, state, reason))

    @property
    def states(self) -> list[str]:
        return [state.value for _, state, _ in self.reports]


class Names:
    """A resolver whose answers a test sets; every other name resolves to this machine."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host, [["127.0.0.1"]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def as_new(served: Served) -> Served:
    """Removes the gateway's circuits, its pooled connections, and the records of earlier tests."""
    wait_until(lambda: not served.gateway._active, "the requests of the test before to end")
    served.records().clear()
    served.gateway._relay._remote._circuits._circuits.clear()
    drop_idle(served)
    return served


def drop_idle(served: Served) -> None:
    """Closes the gateway's pooled connections, and returns when that is done."""
    dropped = threading.Event()

    def drop() -> None:
        for idle in served.gateway._upstream._idle.values():
            for connection in idle:
                connection.abort()
        served.loop.call_soon(dropped.set)

    served.loop.call_soon_threadsafe(drop)
    assert dropped.wait(10), "the idle connections were not closed"


@contextlib.contextmanager
def serve_remote(
    *models: ModelEntry,
    runner: str = "/nowhere.sock",
    routes: dict[str, str | None] | None = None,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> Iterator[Served]:
    """A gateway with these models beside those of `wire.snapshot`."""
    options.setdefault("dialer", Dialer(Names()))
    with serve(runner, limits=limits, **options) as served:
        served.source.current = with_models(snapshot(runner), *models, routes=routes, fallbacks=fallbacks)
        yield served
