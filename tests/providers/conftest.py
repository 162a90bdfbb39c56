"""Fake providers and their endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.provider_kinds import ProviderKind, api_url
from models_app.domain.traffic.routing import RemoteEndpoint
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.provider_server import FakeProvider


@pytest.fixture
def openai(fake_openai: FakeOpenAI) -> FakeOpenAI:
    return fake_openai


@pytest.fixture
def anthropic(fake_anthropic: FakeAnthropic) -> FakeAnthropic:
    return fake_anthropic


def endpoint(fake: FakeProvider, kind: ProviderKind | None = None, **more: Any) -> RemoteEndpoint:
    """A fake as a provider; `more` are fields of the endpoint."""
    if kind is None:
        kind = ProviderKind.ANTHROPIC if isinstance(fake, FakeAnthropic) else ProviderKind.OPENAI
    fields: dict[str, Any] = {
        "provider": "fake",
        "kind": kind,
        "base_url": api_url(kind, fake.base_url),
        "model_id": "",
        "api_key": fake.key,
        "allow_private": True,
    }
    return RemoteEndpoint(**fields | more)
