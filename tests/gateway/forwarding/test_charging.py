"""Whatever way a request ends, it costs at least what its server spent: in its record, in the minute, in the month."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from models_app.domain.catalog.pricing import Price
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.limits import KeyLimits
from models_app.domain.traffic.routing import ModelEntry, RemoteEndpoint, Target, hash_api_key
from models_app.gateway.calls.limiting import Limiter
from models_app.gateway.http.request_body import Limits
from tests.fakes.token_server import DEADLINE, ENDINGS, USAGES, Spent, TokenServer
from tests.gateway.remotes import as_new, serve_remote
from tests.gateway.wire import KEY, Served, request

pytestmark = pytest.mark.wide

PRICE = Price(Decimal(10), Decimal(20))
PROMPT = "word " * 400
LIMIT = 60
LOCAL, OPENAI, ANTHROPIC = "llama.cpp:tokens", "openai:tokens", "anthropic:tokens"
MODELS = (LOCAL, OPENAI, ANTHROPIC)
# Of the gateway that ends a silence; every other answer has the usual time, however busy the machine is.
IMPATIENT = Limits(first_byte_seconds=0.2, idle_seconds=0.2)
ABLE = frozenset({"chat_completion", "text_generation", "embeddings", "streaming"})

BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": LIMIT},
    "completions": {"prompt": PROMPT, "max_tokens": LIMIT},
    "embeddings": {"input": PROMPT},
    "messages": {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": LIMIT},
    "responses": {"input": PROMPT, "max_output_tokens": LIMIT},
}
HOLDS = ("hold_before_headers", "hold_mid", "hold_before_usage")


class Case(NamedTuple):
    endpoint: str
    model: str
    ending: str
    stream: bool
    # Of an answer that is held back: whether the client leaves, or the gateway's patience ends.
    leaves: bool

    @property
    def id(self) -> str:
        kind = "stream" if self.stream else "whole"
        who = "-left" if self.leaves else ""
        return f"{self.endpoint}-{self.model.partition(':')[0]}-{self.ending}-{kind}{who}"


def cases() -> Iterator[Case]:
    for endpoint, model, ending, stream in itertools.product(BODIES, MODELS, ENDINGS, (False, True)):
        if stream and endpoint == "embeddings":
            continue
        if model == ANTHROPIC and endpoint in ("completions", "embeddings"):
            continue  # Anthropic has no such operation.
        if ending in USAGES and ending not in ("no_usage", "zero") and endpoint in ("completions", "responses"):
            continue  # As chat completions.
        for leaves in (False, True) if ending in HOLDS else (False,):
            yield Case(endpoint, model, ending, stream, leaves)


@pytest.fixture(scope="module")
def server() -> Iterator[TokenServer]:
    with TokenServer() as running:
        yield running


@pytest.fixture(scope="module")
def patient(server: TokenServer) -> Iterator[Served]:
    with serve_models(server, Limits()) as served:
        yield served


@pytest.fixture(scope="module")
def impatient(server: TokenServer) -> Iterator[Served]:
    with serve_models(server, IMPATIENT) as served:
        yield served


def serve_models(server: TokenServer, limits: Limits) -> AbstractContextManager[Served]:
    def remote(kind: ProviderKind, path: str) -> RemoteEndpoint:
        base = f"http://127.0.0.1:{server.port}{path}"
        return RemoteEndpoint(kind.value, kind, base, "tokens", "sk-x", allow_private=True)

    targets = (
        Target(LOCAL, "instance-1", server.path, ABLE, price=PRICE),
        Target(OPENAI, "instance-2", "", frozenset(), remote(ProviderKind.OPENAI, "/v1"), price=PRICE),
        Target(ANTHROPIC, "instance-3", "", frozenset(), remote(ProviderKind.ANTHROPIC, ""), price=PRICE),
    )
    entries = [ModelEntry(one.key, "tokens", one.key.partition(":")[0], 1, one) for one in targets]
    return serve_remote(*entries, limits=limits)


@pytest.fixture
def served(patient: Served, server: TokenServer) -> Served:
    server.reset()
    return with_counted_key(patient)


def with_counted_key(shared: Served) -> Served:
    """With a key whose limits are counted, and never reached."""
    found = shared.source.current
    counted = KeyLimits(tokens_per_minute=10**9, monthly_tokens=10**9, monthly_budget_usd=10**6)
    entry = dataclasses.replace(found.keys[hash_api_key(KEY)], limits=counted)
    shared.source.current = dataclasses.replace(found, keys={**found.keys, hash_api_key(KEY): entry})
    shared.gateway.limiter = Limiter()
    return as_new(shared)


def send(served: Served, server: TokenServer, case: Case, **more: Any) -> None:
    body = {"model": case.model, "stream": case.stream, **BODIES[case.endpoint], **more}
    raw = request(body, f"/v1/{case.endpoint}", x_request_id="case")
    if not case.leaves:
        served.ask(raw)
        return
    with served.wire() as wire:
        wire.send(raw)
        assert server.held.wait(DEADLINE), "the answer was not held back"


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.id)
def test_it_costs_at_least_what_was_spent(patient: Served, impatient: Served, server: TokenServer, case: Case) -> None:
    served = with_counted_key(impatient if case.ending in HOLDS and not case.leaves else patient)
    server.reset(case.ending)
    send(served, server, case)
    record = served.record_of("case")
    prompt, completion = record.prompt_tokens or 0, record.completion_tokens or 0
    key = served.gateway.limiter._local._keys["key-1"]
    assert key.month_tokens == prompt + completion == sum(key.tokens.seconds.values())
    assert key.month_micro == round((record.cost_usd or 0) * 1e6)
    assert (key.held, key.held_micro, key.active) == (0, 0, {})
    if case.ending == "error_mid" and not case.stream:
        # The provider answers with an error, and nothing else.
        assert (record.prompt_tokens, record.cost_usd) == (None, None) or case.model == LOCAL
        return
    spent = server.spent
    if case.model == LOCAL and case.ending.startswith("cut"):
        # The death of a runner is a fault of NOA: only the last attempt counts, with what the client received.
        spent = Spent(spent.prompt // server.requests, spent.completion // server.requests if case.stream else 0)
    assert (prompt, completion) >= (spent.prompt, 0)
    assert completion >= spent.completion
    assert (record.cost_usd or 0) >= (10 * spent.prompt + 20 * spent.completion) / 1e6
    if case.ending == "ok":
        assert (prompt, completion, record.estimated) == (spent.prompt, spent.completion, False)
    elif case.ending not in HOLDS:
        is_known = case.endpoint == "embeddings" and case.ending == "error_mid"
        assert record.estimated or is_known or served_exactly(case)
    # An honest client that leaves early does not pay for a book.
    assert prompt <= 4 * server.requests * 400
    assert completion <= server.requests * LIMIT


def served_exactly(case: Case) -> bool:
    """Anthropic's first event has the prompt, and OpenAI's embeddings have no answer to count."""
    return case.endpoint == "embeddings" and case.ending not in (*USAGES, "cut_mid", "cut_before_headers")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("endpoint", "more"),
    [
        ("chat/completions", {"n": 4}),
        ("completions", {"n": 3}),
        ("completions", {"best_of": 5}),
        ("completions", {"prompt": [PROMPT] * 4}),
        ("completions", {"prompt": [list(range(300))] * 2, "n": 2}),
    ],
)
@pytest.mark.parametrize("ending", ["hold_before_headers", "hold_mid", "cut_mid", "no_usage"])
def test_several_answers_are_all_paid_for(
    served: Served, server: TokenServer, endpoint: str, more: dict[str, Any], stream: bool, ending: str
) -> None:
    server.reset(ending)
    send(served, server, Case(endpoint, OPENAI, ending, stream, leaves=ending in HOLDS), **more)
    record = served.record_of("case")
    assert (record.prompt_tokens or 0) >= server.spent.prompt > 0
    assert (record.completion_tokens or 0) >= server.spent.completion


def test_a_request_without_a_limit_costs_what_it_produced(served: Served, server: TokenServer) -> None:
    for ending in ("hold_mid", "hold_before_usage", "no_usage"):
        server.reset(ending)
        body = {"model": OPENAI, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        with served.wire() as wire:
            wire.send(request(body, x_request_id=ending))
            if ending == "no_usage":
                wire.until(b"[DONE]")
            else:
                assert server.held.wait(DEADLINE)
        record = served.record_of(ending)
        assert record.estimated
        assert server.spent.completion <= (record.completion_tokens or 0) <= 4 * server.spent.completion + 50


def test_an_attempt_that_spent_is_paid_for_beside_the_one_that_answers(served: Served, server: TokenServer) -> None:
    found = served.source.current
    first = found.models[OPENAI]
    assert first.target is not None and first.target.remote is not None
    slow = dataclasses.replace(first.target.remote, provider="slow", first_byte_seconds=0.2)
    target = dataclasses.replace(first.target, key="slow:tokens", remote=slow)
    models = {**found.models, "slow:tokens": dataclasses.replace(first, key="slow:tokens", target=target)}
    served.source.current = dataclasses.replace(
        found,
        models=models,
        routes={**found.routes, "safe": "slow:tokens"},
        fallbacks={"safe": (LOCAL,)},
    )
    server.reset("hold_before_headers", "ok")

    assert served.ask(request({"model": "safe", **BODIES["chat/completions"]}, x_request_id="case")).status == 200
    record = served.record_of("case")
    served.source.current = found
    assert server.requests == 2 and record.model_key == LOCAL
    assert record.estimated
    assert (record.prompt_tokens or 0) >= server.spent.prompt
    assert (record.completion_tokens or 0) >= server.spent.completion == 2 * LIMIT
    assert (record.cost_usd or 0) >= (10 * server.spent.prompt + 20 * server.spent.completion) / 1e6
