"""What every floor's tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI

FAKE_RUNNER = Path(__file__).parent / "fakes" / "runner.py"


def fake_runner(behaviour: str = "good") -> list[str]:
    """The command of a runner without a model; see tests/fakes/runner.py for the behaviours."""
    return [sys.executable, str(FAKE_RUNNER), "--behaviour", behaviour]


@pytest.fixture(scope="session")
def shared_openai() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="session")
def shared_anthropic() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture
def fake_openai(shared_openai: FakeOpenAI) -> FakeOpenAI:
    """A fake OpenAI that listens, as new; see tests/fakes/provider_server.py."""
    shared_openai.reset()
    return shared_openai


@pytest.fixture
def fake_anthropic(shared_anthropic: FakeAnthropic) -> FakeAnthropic:
    """A fake Anthropic that listens, as new; see tests/fakes/provider_server.py."""
    shared_anthropic.reset()
    return shared_anthropic
