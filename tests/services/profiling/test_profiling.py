"""Profiles as a job: real requests, every sample kept."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from models_app.domain.errors import Conflict, InvalidRequest
from models_app.domain.states import InstanceState, JobKind, JobState
from models_app.engines import identity
from models_app.models import Event, Job, ProfileRun
from models_app.providers.asking import asking
from models_app.services.jobs import jobs
from models_app.services.profiling import profiling
from models_app.services.profiling.profiling import ProfileSettings
from tests.fakes.upstream import USAGE, FakeUpstream
from tests.services.conftest import Work
from tests.services.results import result_of
from tests.services.served import KEY, loaded_model, registered_model

pytestmark = pytest.mark.django_db


def profile(do: Work, **settings: Any) -> tuple[Job, ProfileRun]:
    job = do(profiling.profile, kind=JobKind.PROFILE, key=KEY, wanted=ProfileSettings(**settings))
    return job, ProfileRun.objects.get()


def bodies(runner: FakeUpstream) -> list[dict[str, Any]]:
    return [json.loads(exchange.body) for exchange in runner.exchanges]


def test_every_request_is_a_sample_and_the_summary_tells_of_all(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    job, row = profile(do, requests=8, concurrency=[3], max_tokens=7)
    assert job.state == JobState.SUCCEEDED, job.error_message
    assert row.complete
    assert row.finished_at is not None
    assert [sample.number for sample in row.samples.all()] == list(range(8))
    assert all(sample.ok and sample.ttft_ms is not None for sample in row.samples.all())
    assert (row.summary["requests"], row.summary["success_rate"]) == (8, 1.0)
    (stage,) = row.summary["stages"]
    assert stage["completion_tokens"] == 8 * USAGE["completion_tokens"]
    # This runner sends its tokens together: most of its answers have no speed.
    assert stage["bunched"] + stage["generation_tokens_per_second"]["n"] == 8
    for figure in ("ttft_ms", "e2el_ms"):
        assert stage[figure]["p50"] <= stage[figure]["p99"]
        low, high = stage[figure]["ci"]["mean"]
        assert low <= stage[figure]["mean"] <= high
    assert (row.version, row.job_id) == (model.version, job.pk)
    # No request has set the model's averages yet.
    model.refresh_from_db()
    assert (model.average_latency_ms, model.average_success_rate) == (stage["e2el_ms"]["mean"], 1.0)
    assert model.average_tokens_per_second == stage["generation_tokens_per_second"]["mean"]
    assert row.environment["context_tokens"] == 2048
    assert row.environment["engine"].startswith("llama-cpp-python ")
    assert result_of(job)["profile"] == str(row.pk)
    names = Event.objects.order_by("pk").values_list("name", flat=True)
    assert list(names) == ["profiling-started", "profiling-completed"]


def test_requests_are_real_streams_and_differ(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    profile(do, requests=3, concurrency=[1, 2], max_tokens=7, prompts=["Why?"], warmup=1)
    asked = bodies(runner)
    assert all(body["stream"] and body["max_tokens"] == 7 for body in asked)
    texts = [body["messages"][0]["content"] for body in asked]
    assert len(set(texts)) == 1 + 2 * 3, "a prompt that came twice may be answered from a cache"
    assert all(text.endswith(". Why?") for text in texts)


def test_each_concurrency_is_a_stage_with_samples_of_its_own(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    job, row = profile(do, requests=3, concurrency=[1, 2])
    assert [stage["concurrency"] for stage in row.summary["stages"]] == [1, 2]
    places = row.samples.values_list("stage", "concurrency", "number")
    assert list(places) == [(0, 1, 0), (0, 1, 1), (0, 1, 2), (1, 2, 0), (1, 2, 1), (1, 2, 2)]
    steps = [step["name"] for step in job.steps]
    assert steps == ["warm up", "measure", "measure", "summarise"]
    assert job.progress == 1.0


def test_answers_of_a_local_model_are_as_long_as_asked_for(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    _, row = profile(do, requests=2)
    assert all(body["ignore_eos"] for body in bodies(runner))
    assert row.settings["ignore_eos"] is True


def test_a_prompt_length_is_reached_by_counting_tokens(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    job, _ = profile(do, requests=1, warmup=0, prompt_tokens=40)
    assert job.state == JobState.SUCCEEDED, job.error_message
    short, long, measured = (body["messages"][0]["content"] for body in bodies(runner))
    assert len(long.split()) - len(short.split()) == 64
    # The fake counts every prompt the same, so that a word counts as a token.
    assert len(measured.split()) - len(short.split()) == 40


def test_what_cannot_be_read_is_null_with_a_reason(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    _, row = profile(do, requests=1)
    memory = row.summary["stages"][0]["peak_memory"]
    assert (memory["rss_bytes"], memory["reason"]) == (
        None,
        "The model does not run in a process of NOA.",
    )


def test_the_memory_of_the_runner_is_watched(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    model.instances.update(pid=os.getpid(), pid_identity=identity.of(os.getpid()))
    _, row = profile(do, requests=1)
    memory = row.summary["stages"][0]["peak_memory"]
    assert memory["rss_bytes"] >= memory["pss_bytes"] > 1_000_000


def test_failures_are_samples_too(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    runner.script("bad_request", "cut_stream", "answer")
    _, row = profile(do, requests=3, warmup=0)
    assert [sample.ok for sample in row.samples.all()] == [False, False, True]
    assert row.samples.all()[0].error == "Too long."
    assert row.summary["success_rate"] == pytest.approx(0.3333)
    assert row.complete


def test_a_profile_that_is_cancelled_stays_incomplete(do: Work, runner: FakeUpstream) -> None:
    loaded_model(runner.path)
    runner.script("answer", "hang")

    def cancelled_at_the_hang(**arguments: Any) -> None:
        run = arguments["run"]
        done = run.progress

        def progress(fraction: float) -> None:
            if len(runner.exchanges) == 2:
                jobs.cancel(job_id=run.job.pk, actor="tester")
            done(fraction)

        run.progress = progress
        profiling.profile(**arguments)

    job = do(
        cancelled_at_the_hang,
        kind=JobKind.PROFILE,
        key=KEY,
        wanted=ProfileSettings(requests=5, warmup=0),
    )
    assert job.state == JobState.CANCELLED
    row = ProfileRun.objects.get()
    assert (row.complete, row.summary) == (False, None)
    assert row.samples.count() == 1
    assert (row.state, row.incomplete_reason) == (
        "incomplete",
        "The job was cancelled by tester.",
    )
    assert not Event.objects.filter(name="profiling-completed").exists()
    assert runner.exchanges[1].left.wait(5), "the request that hung was not given up"


def test_a_runner_that_is_gone_makes_no_figures(do: Work) -> None:
    loaded_model("/nonexistent/runner.sock")
    _, row = profile(do, requests=2)
    assert row.summary["success_rate"] == 0.0
    assert row.summary["stages"][0]["ttft_ms"]["p50"] is None


def test_a_measurement_that_breaks_fails_the_job(
    do: Work, runner: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    loaded_model(runner.path)
    monkeypatch.setattr(asking.Asker, "ask", cancelled)
    job, row = profile(do, requests=2)
    assert (job.state, job.error_code) == (JobState.FAILED, "profile_incomplete")
    assert not row.complete


def test_only_a_loaded_model_that_writes_can_be_profiled() -> None:
    model = registered_model()
    with pytest.raises(Conflict):
        profiling.request(key=KEY, wanted=ProfileSettings(), actor="test")
    model.instances.create(node="local", state=InstanceState.READY)
    with pytest.raises(InvalidRequest):
        profiling.request(key=KEY, wanted=ProfileSettings(prompts=["Why?"], prompt_tokens=9), actor="test")
    model.capabilities = ["embeddings"]
    model.save()
    with pytest.raises(InvalidRequest):
        profiling.request(key=KEY, wanted=ProfileSettings(), actor="test")


def test_a_profile_leaves_the_averages_of_real_requests(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    type(model).objects.update(average_latency_ms=1.5)
    profile(do, requests=2, concurrency=[1], max_tokens=7)
    model.refresh_from_db()
    assert (model.average_latency_ms, model.average_success_rate) == (1.5, 1.0)
