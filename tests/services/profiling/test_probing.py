"""Probes as a job: the verdicts on a loaded model."""

from __future__ import annotations

from typing import Any

import pytest

from models_app.domain.errors import Conflict
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.models import CapabilityEvidence, Event, Instance, Job, RegisteredModel
from models_app.providers.asking import context_length
from models_app.services.jobs import jobs
from models_app.services.profiling import probing
from models_app.services.registry import capabilities
from tests.fakes.upstream import FakeUpstream
from tests.services.conftest import Work
from tests.services.results import result_of
from tests.services.served import KEY, loaded_model, registered_model

pytestmark = pytest.mark.django_db


def probe(do: Work, **arguments: Any) -> Job:
    return do(probing.probe, kind=JobKind.PROBE, **{"key": KEY, "wanted": [], "effective_context": False} | arguments)


def test_it_stores_a_verdict_with_all_that_it_came_from(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    job = probe(do, wanted=["chat_completion"])
    assert job.state == JobState.SUCCEEDED, job.error_message
    row = CapabilityEvidence.objects.get()
    assert (row.capability, row.source, row.verdict) == ("chat_completion", "probed", "supported")
    assert row.version == model.version
    assert row.job_id == job.pk
    assert row.engine.startswith("llama-cpp-python ")
    assert len(row.request_digest) == 64
    assert row.request["messages"]
    assert "The quick brown fox" in row.detail
    assert result_of(job)["verdicts"] == {"chat_completion": "supported"}
    assert [step["name"] for step in job.steps] == ["probe"]


def test_without_a_choice_it_probes_all_but_undeclared_vision(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    assert set(result_of(probe(do))["verdicts"]) == {
        "text_generation",
        "chat_completion",
        "streaming",
        "json_mode",
        "function_calling",
        "embeddings",
    }
    model.capabilities = ["vision"]
    model.save()
    assert "vision" in result_of(probe(do))["verdicts"]


def test_a_model_that_answers_otherwise_than_claimed_is_an_event(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    capabilities.record_declared(model=model, capabilities=["json_mode"])
    job = probe(do, wanted=["json_mode"])
    event = Event.objects.get(name="capabilities-changed")
    assert (event.before, event.after) == ({"json_mode": "supported"}, {"json_mode": "unsupported"})
    assert (event.job_id, event.actor, event.cause) == (job.pk, "test", "probed")
    assert result_of(job)["changed"] == {"json_mode": {"before": "supported", "after": "unsupported"}}


def test_a_runner_that_is_gone_is_inconclusive(do: Work) -> None:
    model = loaded_model("/nonexistent/runner.sock")
    job = probe(do, wanted=["chat_completion", "embeddings"])
    assert job.state == JobState.SUCCEEDED
    assert set(result_of(job)["verdicts"].values()) == {"inconclusive"}
    model.refresh_from_db()
    assert model.proven_index == ""


def test_a_job_that_is_cancelled_keeps_what_it_found(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)

    def cancelled_after_one(**arguments: Any) -> None:
        run = arguments["run"]
        done = run.progress

        def progress(fraction: float) -> None:
            jobs.cancel(job_id=run.job.pk, actor="tester")
            done(fraction)

        run.progress = progress
        probing.probe(**arguments)

    job = do(cancelled_after_one, kind=JobKind.PROBE, key=KEY, wanted=[], effective_context=False)
    assert job.state == JobState.CANCELLED
    assert CapabilityEvidence.objects.count() == 1


@pytest.mark.parametrize("state", [None, InstanceState.STARTING, InstanceState.DRAINING])
def test_only_a_loaded_model_can_be_probed(do: Work, state: InstanceState | None) -> None:
    model = registered_model()
    if state:
        Instance.objects.create(model=model, version=model.version, node="local", state=state)
    with pytest.raises(Conflict) as refused:
        probing.request(key=KEY, wanted=[], effective_context=None, actor="test")
    assert refused.value.code == "model_not_loaded"
    assert probe(do).error_code == "model_not_loaded"


def test_the_same_probe_twice_is_one_job(runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    asked: dict[str, Any] = {"key": KEY, "effective_context": None, "actor": "test"}
    first, created = probing.request(wanted=["vision", "embeddings"], **asked)
    second, again = probing.request(wanted=["embeddings", "vision"], **asked)
    assert (first.pk, created, again) == (second.pk, True, False)
    with pytest.raises(Conflict):
        probing.request(wanted=[], **asked)


def test_the_length_of_the_context_is_found(do: Work, runner: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself is tested with its module; here, the place of its result."""

    async def measure(ask: object, *, path: str, upper: int) -> context_length.Measured:
        assert (path, upper) == ("chat/completions", 2048)
        return context_length.Measured(2000, True, "A prompt of 2000 tokens was accepted.")

    monkeypatch.setattr(context_length, "measure", measure)
    model = loaded_model(runner.path)
    assert probe(do, effective_context=None).state == JobState.SUCCEEDED
    row = CapabilityEvidence.objects.get(model=model, capability="text_generation")
    assert row.value == {
        "effective_context": 2000,
        "limit_found": True,
        "loaded_context": 2048,
        "claimed_context": 4096,
    }
    assert RegisteredModel.objects.get().proven_index.count("text_generation") == 1
