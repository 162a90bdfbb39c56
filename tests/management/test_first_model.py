"""Which model of a new server's folder becomes `current`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models_app.domain.states import JobState
from models_app.management import server
from models_app.models import RegisteredModel, Route
from models_app.services.catalog import lookup
from models_app.services.jobs import waiting
from models_app.services.lifecycle import commands

pytestmark = pytest.mark.django_db

# By name in this order; none can chat that is before `d`.
FOLDER = {
    "a": ["embeddings"],
    "b": ["text_generation"],
    "c": [],
    "d": ["chat_completion", "text_generation"],
    "e": ["chat_completion"],
}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are tried; `outcomes` of the module decide how each ends."""
    keys: list[str] = []

    def request(*, key: str, **_: Any) -> tuple[SimpleNamespace, bool]:
        keys.append(key)
        return SimpleNamespace(pk=key), False

    def wait(*, job_id: str, **_: Any) -> SimpleNamespace:
        state, code = OUTCOMES.get(job_id, (JobState.SUCCEEDED, ""))
        return SimpleNamespace(state=state, error_code=code)

    monkeypatch.setattr(commands, "request_switch", request)
    monkeypatch.setattr(waiting, "wait", wait)
    OUTCOMES.clear()
    Route.objects.get_or_create(name="current")
    return keys


OUTCOMES: dict[str, tuple[str, str]] = {}


def register(folder: dict[str, list[str]]) -> None:
    provider = lookup.local_provider()
    for name, capabilities in folder.items():
        model = RegisteredModel(provider=provider, model_id=name, key=name)
        model.capabilities = capabilities
        model.save()


def test_it_is_the_first_that_can_chat(tried: list[str]) -> None:
    register(FOLDER)
    server.load_first_model()
    assert tried == ["d"]


def test_others_are_tried_when_those_fail_and_embeddings_last(tried: list[str]) -> None:
    register(FOLDER)
    OUTCOMES.update(dict.fromkeys("de", (JobState.FAILED, "load_failed")))
    server.load_first_model()
    assert tried == ["d", "e", "b"]


def test_models_that_do_not_fit_are_no_attempts(tried: list[str]) -> None:
    huge = {f"huge{number}": ["chat_completion"] for number in range(9)}
    register(huge | {"small": ["chat_completion"]})
    OUTCOMES.update(dict.fromkeys(huge, (JobState.FAILED, "insufficient_memory")))
    server.load_first_model()
    assert tried[-1] == "small"


def test_broken_ones_end_the_search(tried: list[str]) -> None:
    broken = {f"m{number}": ["chat_completion"] for number in range(9)}
    register(broken)
    OUTCOMES.update(dict.fromkeys(broken, (JobState.FAILED, "load_failed")))
    server.load_first_model()
    assert len(tried) == 5
