"""Requests to models of providers use the dialect, the key and the address of each provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models_app.domain.catalog.capabilities import Capability, Verdict
from models_app.domain.errors import InvalidRequest
from models_app.domain.provider_kinds import ProviderKind
from models_app.domain.traffic.routing import RemoteEndpoint, Target
from models_app.providers.asking.asking import Answer, Asker
from models_app.providers.asking.probes import PROBES, Probed
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_server import FakeProvider

HELLO = {"messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 20}


@pytest.fixture(scope="module")
def openai() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def anthropic() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> FakeProvider:
    fake: FakeProvider = request.getfixturevalue(request.param)
    fake.reset()
    return fake


def target(fake: FakeProvider, model_id: str = "") -> Target:
    is_openai = isinstance(fake, FakeOpenAI)
    remote = RemoteEndpoint(
        provider="remote",
        kind=ProviderKind.OPENAI if is_openai else ProviderKind.ANTHROPIC,
        base_url=fake.base_url,
        model_id=model_id or ("gpt-4o" if is_openai else "claude-haiku-4-5-20251001"),
        api_key=fake.key,
        allow_private=True,
    )
    return Target("remote:x", "i", "", frozenset(), remote)


def ask(target: Target, body: dict[str, Any], path: str = "chat/completions") -> Answer:
    async def exchange() -> Answer:
        async with Asker(target) as asker:
            return await asker.ask(path, body, seconds=10)

    return asyncio.run(exchange())


def probe(target: Target, capability: Capability) -> Probed:
    async def run() -> Probed:
        async with Asker(target) as asker:
            return await PROBES[capability](asker)

    return asyncio.run(run())


def test_a_whole_answer_comes_in_the_shape_of_openai(provider: FakeProvider) -> None:
    answer = ask(target(provider), HELLO)
    assert (answer.status, answer.error) == (200, "")
    assert "Hello there" in answer.body["choices"][0]["message"]["content"]
    assert answer.tokens("prompt_tokens")


def test_a_stream_comes_in_the_shape_of_openai(provider: FakeProvider) -> None:
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    answer = ask(target(provider), body)
    assert answer.error == ""
    assert answer.done
    assert len(answer.events) > 2
    assert answer.tokens("completion_tokens")


@pytest.mark.parametrize(
    "capability",
    [
        Capability.CHAT_COMPLETION,
        Capability.TEXT_GENERATION,
        Capability.STREAMING,
        Capability.JSON_MODE,
        Capability.FUNCTION_CALLING,
    ],
)
def test_the_probes_work_in_every_dialect(provider: FakeProvider, capability: Capability) -> None:
    found = probe(target(provider), capability)
    assert found.verdict == Verdict.SUPPORTED, found.detail


def test_vectors_of_a_provider_are_judged(openai: FakeOpenAI) -> None:
    openai.reset()
    model = target(openai, "text-embedding-3-small")
    assert probe(model, Capability.EMBEDDINGS).verdict == Verdict.SUPPORTED


def test_what_a_dialect_has_no_word_for_is_unsupported(anthropic: FakeAnthropic) -> None:
    anthropic.reset()
    assert probe(target(anthropic), Capability.EMBEDDINGS).verdict == Verdict.UNSUPPORTED
    assert anthropic.requests == []


def test_a_wrong_key_is_no_verdict(provider: FakeProvider) -> None:
    good = target(provider)
    assert good.remote is not None
    wrong = replace(good, remote=replace(good.remote, api_key="sk-wrong"))
    found = probe(wrong, Capability.CHAT_COMPLETION)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "sk-wrong" not in found.detail


def test_a_private_address_is_asked_only_where_that_is_allowed(provider: FakeProvider) -> None:
    allowed = target(provider)
    assert allowed.remote is not None
    refused = replace(allowed, remote=replace(allowed.remote, allow_private=False))
    with pytest.raises(InvalidRequest):
        ask(refused, HELLO)
    named = replace(allowed.remote, allow_private=False, base_url="http://localhost:9/v1")
    answer = ask(replace(allowed, remote=named), HELLO)
    assert (answer.status, answer.code) == (0, "unreachable")
    assert provider.requests == []


@pytest.mark.parametrize("kind", [ProviderKind.OPENAI, ProviderKind.ANTHROPIC])
def test_a_key_is_in_no_representation(kind: ProviderKind) -> None:
    remote = RemoteEndpoint("p", kind, "https://api.example.com/v1", "m", "sk-secret")
    assert "sk-secret" not in repr(Asker(Target("k", "i", "", frozenset(), remote))._wire)
