"""What every floor's tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from models_app.models import Job
from models_app.tasks import queueing
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI

FAKE_RUNNER = Path(__file__).parent / "fakes" / "runner.py"


def fake_runner(behaviour: str = "good") -> list[str]:
    """The command of a runner without a model; see tests/fakes/runner.py for the behaviours."""
    return [sys.executable, str(FAKE_RUNNER), "--behaviour", behaviour]


@pytest.fixture
def queued() -> Iterator[list[Job]]:
    """No worker runs here: what would have been sent to it."""
    sent: list[Job] = []
    with mock.patch.object(queueing, "enqueue", sent.append):
        yield sent


@pytest.fixture
def models_dir(tmp_path: Path, settings: Any) -> Path:
    """An empty folder, the only one in which models are looked for."""
    folder = tmp_path / "models"
    folder.mkdir()
    settings.NOA_MODEL_ROOTS = [folder]
    return folder


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
