"""Comparison and export of profiles."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.measuring import figures
from models_app.domain.measuring.figures import Sample
from models_app.domain.states import JobKind
from models_app.models import Event, ProfileRun, ProfileSample, RegisteredModel
from models_app.services.profiling import comparing, profiling, reports
from models_app.services.profiling.profiling import ProfileSettings
from tests.fakes.upstream import FakeUpstream
from tests.services.conftest import Work
from tests.services.served import KEY, loaded_model, registered_model

pytestmark = pytest.mark.django_db

ENVIRONMENT = {
    "engine": "llama-cpp-python 1",
    "sha256": "a" * 64,
    "cpus": 2,
    "load_seconds": 1.0,
    "before": {"load_average": [0.1, 0.1, 0.1]},
}


def run_of(model: RegisteredModel, *, factor: float = 1.0, ago: float = 0, seed: int = 1, **fields: Any) -> ProfileRun:
    """A complete run of 20 requests that take `factor` times as long, begun `ago` minutes ago."""
    given = {
        "complete": True,
        "settings_class": "c",
        "settings": {"concurrency": [1]},
        "environment": ENVIRONMENT,
        "finished_at": timezone.now(),
    } | fields
    run = ProfileRun.objects.create(model=model, version=model.version, **given)
    samples = [
        Sample(
            number=number,
            ok=True,
            error="=1+1",
            prompt_tokens=9,
            cached_tokens=0,
            completion_tokens=11,
            ttft_ms=time * factor * 100,
            e2el_ms=time * factor * 600,
            gaps=[50.0],
        )
        for number, time in enumerate(np.random.default_rng(seed).lognormal(0, 0.1, 20).tolist())
    ]
    ProfileSample.objects.bulk_create(
        ProfileSample(
            run=run,
            number=one.number,
            ok=True,
            error=one.error,
            prompt_tokens=9,
            cached_tokens=0,
            completion_tokens=11,
            ttft_ms=one.ttft_ms,
            e2el_ms=one.e2el_ms,
            gaps_ms=[50.0],
        )
        for one in samples
    )
    run.summary = {"stages": [figures.of_stage(samples, concurrency=1)], "load_seconds": 1.0}
    run.started_at = timezone.now() - timedelta(minutes=ago)
    run.save()
    return run


@pytest.fixture
def model() -> RegisteredModel:
    return registered_model()


def test_a_slower_run_is_worse_with_its_numbers(model: RegisteredModel) -> None:
    before, after = run_of(model), run_of(model, factor=1.5, seed=2)
    (found,) = comparing.compare(runs=[before, after])["comparisons"]
    assert found["verdict"] == "worse"
    by_figure = {one["figure"]: one for one in found["contrasts"]}
    assert by_figure["e2el_ms"]["low"] <= 1.5 <= by_figure["e2el_ms"]["high"]
    assert by_figure["success_rate"]["verdict"] == "no_difference_shown"
    assert found["changed"] == []


def test_the_tolerance_is_the_settings_or_the_callers(model: RegisteredModel, settings: Any) -> None:
    before, after = run_of(model), run_of(model, factor=1.5, seed=2)
    settings.NOA_PROFILE_TOLERANCE = 0.9
    assert comparing.compare(runs=[before, after])["comparisons"][0]["verdict"] == ("no_difference_shown")
    found = comparing.compare(runs=[before, after], tolerance=0.1)
    assert found["comparisons"][0]["verdict"] == "worse"


def test_what_differs_and_what_to_be_careful_of_is_said(model: RegisteredModel) -> None:
    busy = ENVIRONMENT | {"engine": "llama-cpp-python 2", "before": {"load_average": [1.9, 0, 0]}}
    before = run_of(model)
    after = run_of(model, environment=busy, settings_class="d", settings={"concurrency": [4]})
    (found,) = comparing.compare(runs=[before, after])["comparisons"]
    assert found["changed"] == [{"what": "engine", "before": "llama-cpp-python 1", "after": "llama-cpp-python 2"}]
    assert len(found["caution"]) == 3, found["caution"]


def test_the_baseline_is_the_marked_run_or_the_one_before(model: RegisteredModel) -> None:
    marked, last, new = run_of(model, ago=3), run_of(model, ago=2), run_of(model)
    run_of(model, ago=1, complete=False)
    run_of(model, ago=1, settings_class="d")
    assert comparing.baseline_of(run=new) == last
    assert comparing.baseline_of(run=marked) is None
    profiling.mark_baseline(profile_id=last.pk, baseline=True)
    profiling.mark_baseline(profile_id=marked.pk, baseline=True)
    assert comparing.baseline_of(run=new) == marked
    assert ProfileRun.objects.filter(baseline=True).count() == 1
    profiling.mark_baseline(profile_id=marked.pk, baseline=False)
    assert comparing.baseline_of(run=new) == last


def test_a_run_that_is_not_complete_is_no_baseline(model: RegisteredModel) -> None:
    cut = run_of(model, complete=False)
    with pytest.raises(InvalidRequest):
        profiling.mark_baseline(profile_id=cut.pk, baseline=True)


def test_a_profile_that_is_worse_than_its_baseline_is_an_event(do: Work, runner: FakeUpstream) -> None:
    model = loaded_model(runner.path)
    wanted = ProfileSettings(requests=6, warmup=0)
    do(profiling.profile, kind=JobKind.PROFILE, key=KEY, wanted=wanted)
    before = ProfileRun.objects.get(model=model)
    # As if the model had been a hundred times as fast before.
    for sample in before.samples.all():
        sample.ttft_ms, sample.e2el_ms = (sample.ttft_ms or 0) / 100, sample.e2el_ms / 100
        sample.save()
    job = do(profiling.profile, kind=JobKind.PROFILE, key=KEY, wanted=wanted)
    after = ProfileRun.objects.latest("started_at")
    assert (after.compared_with, after.comparison["verdict"]) == (before, "worse")
    told = Event.objects.get(name="profile-regressed")
    assert (told.subject, told.job_id) == (KEY, job.pk)
    assert {one["figure"] for one in told.data["worse"]} >= {"ttft_ms", "e2el_ms"}
    assert "times (95 %" in told.message


def test_runs_are_named_by_id_or_by_the_key_of_a_model(model: RegisteredModel) -> None:
    other = registered_model("other")
    old, new, rival = run_of(model, ago=2), run_of(model, ago=1), run_of(other)
    assert comparing.runs_named(names=[str(old.pk), KEY, other.key]) == [old, new, rival]
    for names in ([KEY], [KEY, str(new.pk)], [str(old.pk)] * 9):
        with pytest.raises(InvalidRequest):
            comparing.runs_named(names=names)
    with pytest.raises(NotFound):
        comparing.runs_named(names=[KEY, "llama.cpp:nobody"])
    cut = run_of(model, complete=False)
    with pytest.raises(InvalidRequest, match="not complete"):
        comparing.runs_named(names=[KEY, str(cut.pk)])


def test_the_table_holds_every_sample_and_no_formula(model: RegisteredModel) -> None:
    rows = list(csv.DictReader(io.StringIO(reports.as_csv(run_of(model)))))
    assert len(rows) == 20
    assert {row["error"] for row in rows} == {"'=1+1"}
    assert float(rows[0]["tpot_ms"]) == pytest.approx(
        (float(rows[0]["e2el_ms"]) - float(rows[0]["ttft_ms"])) / 10, abs=0.001
    )


def test_the_report_needs_nothing_beside_it(model: RegisteredModel) -> None:
    before, after = run_of(model), run_of(model, factor=1.5, seed=2)
    comparing.with_baseline(run=after)
    after.compared_with = before
    text = reports.as_markdown(after)
    assert "# Profile of llama.cpp:tiny" in text
    assert "**Worse.**" in reports.comparison_as_markdown(comparing.compare(runs=[before, after]))
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
