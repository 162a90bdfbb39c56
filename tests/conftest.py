"""Fixtures of all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db import connection

from models_app.domain.records.refusals import Sampler
from models_app.models import Job
from models_app.services.coordination import audit
from models_app.services.rollups import partitions
from models_app.tasks import queueing
from tests.fakes.anthropic_server import FakeAnthropic
from tests.fakes.openai_server import FakeOpenAI

FAKE_RUNNER = Path(__file__).parent / "fakes" / "runner.py"


def fake_runner(behaviour: str = "good") -> list[str]:
    """The command of a runner without a model; see tests/fakes/runner.py for the behaviours and their options."""
    return [sys.executable, str(FAKE_RUNNER), "--behaviour", *behaviour.split()]


# The partition for rows of days without one: NOA creates partitions when it stores rows, tests store at any time.
# Its name is that of a day that retention never reaches.
_ANY_DAY = "CREATE TABLE models_app_accesslog_p99991231 PARTITION OF models_app_accesslog DEFAULT"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(_ANY_DAY)
            today = datetime.now(UTC).date()
            partitions.ensure(today + timedelta(days=days) for days in range(-8, 4))


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The run's own PostgreSQL ends with the run: its databases need not be dropped one by one."""
    return connection.vendor == "postgresql"


@pytest.fixture(autouse=True)
def no_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused calls that are counted in memory: the end of a test does not undo them."""
    monkeypatch.setattr(audit, "_anonymous", Sampler(3, 8))
    monkeypatch.setattr(audit, "_callers", Sampler(60, 32))


@pytest.fixture
def queued() -> Iterator[list[Job]]:
    """The jobs that would have been sent to a worker; none runs here."""
    sent: list[Job] = []
    with mock.patch.object(queueing, "enqueue", sent.append):
        yield sent


@pytest.fixture
def models_dir(tmp_path: Path, settings: Any) -> Path:
    """An empty folder, the only model folder."""
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
    """A running fake OpenAI, reset; see tests/fakes/provider_server.py."""
    shared_openai.reset()
    return shared_openai


@pytest.fixture
def fake_anthropic(shared_anthropic: FakeAnthropic) -> FakeAnthropic:
    """A running fake Anthropic, reset; see tests/fakes/provider_server.py."""
    shared_anthropic.reset()
    return shared_anthropic
