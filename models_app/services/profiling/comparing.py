"""Compares profiles: those that a request names, and each new one with its baseline."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from models_app.domain.errors import InvalidRequest, NotFound
from models_app.domain.events import EventName
from models_app.domain.measuring import comparison
from models_app.domain.measuring.comparison import Contrast, Stages, Verdict
from models_app.domain.measuring.figures import Sample
from models_app.models import ProfileRun, RegisteredModel
from models_app.services.events import events

# A wider table is not readable, and each additional run makes every difference harder to show.
MOST_RUNS = 8
# Parts of a run's environment that can explain a difference, the likeliest first.
_EXPLAINING = (
    "engine",
    "sha256",
    "quantization",
    "options",
    "context_tokens",
    "slots",
    "node",
    "processor",
    "cpus",
    "measured_from",
)


def runs_named(*, names: Sequence[str]) -> list[ProfileRun]:
    """Runs by their ids or by the keys of models (their last complete runs).

    Raises InvalidRequest for fewer than two or too many, or for a run that is not complete; NotFound.
    """
    found = [_run_named(name) for name in dict.fromkeys(names)]
    if not 2 <= len({run.pk for run in found}) <= MOST_RUNS or len(found) > MOST_RUNS:
        raise InvalidRequest(
            f"Name two to {MOST_RUNS} different runs, by their ids or by the keys of models.",
            code="invalid_runs",
            param="runs",
        )
    return found


def _run_named(name: str) -> ProfileRun:
    rows = ProfileRun.objects.select_related("model", "version")
    try:
        run = rows.filter(pk=uuid.UUID(name)).first()
    except ValueError:
        if not RegisteredModel.objects.filter(key=name).exists():
            raise NotFound(
                f"'{name}' is neither a profile's id nor the key of a model.",
                code="profile_not_found",
                param="runs",
            ) from None
        run = rows.filter(model__key=name, complete=True).order_by("-started_at").first()
    if run is None:
        raise NotFound(
            f"There is no profile '{name}', or the model has none that is complete.",
            code="profile_not_found",
            param="runs",
        )
    if not run.complete:
        raise InvalidRequest(f"The profile {run.pk} is not complete ({run.state}): it has no figures.", param="runs")
    return run


def compare(*, runs: Sequence[ProfileRun], tolerance: float | None = None) -> dict[str, Any]:
    """Compare runs; the first is the baseline of the others.

    runs         the rows, in the order they were named
    tolerance    the smallest share that counts as a difference
    comparisons  for each other run: `run`, `verdict`, `changed`, `caution`, `contrasts`
    """
    least = settings.NOA_PROFILE_TOLERANCE if tolerance is None else tolerance
    baseline, *others = runs
    found = comparison.compare(stages_of(baseline), [stages_of(other) for other in others], tolerance=least)
    return {
        "runs": list(runs),
        "tolerance": least,
        "comparisons": [_represent(baseline, other, contrasts) for other, contrasts in zip(others, found, strict=True)],
    }


def _represent(baseline: ProfileRun, other: ProfileRun, contrasts: Sequence[Contrast]) -> dict[str, Any]:
    return {
        "baseline": str(baseline.pk),
        "run": str(other.pk),
        "verdict": str(comparison.overall(contrasts)),
        "changed": _changed(baseline, other),
        "caution": _caution(baseline, other),
        "contrasts": [contrast.represent() for contrast in contrasts],
    }


def stages_of(run: ProfileRun) -> Stages:
    """The samples of a run by their stage's concurrency; without the gaps, which no comparison needs."""
    stages: dict[int, list[Sample]] = {}
    for row in run.samples.defer("gaps_ms"):
        sample = Sample(
            number=row.number,
            ok=row.ok,
            error=row.error,
            prompt_tokens=row.prompt_tokens,
            cached_tokens=row.cached_tokens,
            completion_tokens=row.completion_tokens,
            ttft_ms=row.ttft_ms,
            e2el_ms=row.e2el_ms,
            stage=row.stage,
            started_ms=row.started_ms,
        )
        stages.setdefault(row.concurrency, []).append(sample)
    return stages


def _changed(baseline: ProfileRun, other: ProfileRun) -> list[dict[str, Any]]:
    """The differences between two runs' environments that can explain different figures."""
    changes: list[dict[str, Any]] = []
    if baseline.model_id != other.model_id:
        changes.append({"what": "model", "before": baseline.model.key, "after": other.model.key})
    for what in _EXPLAINING:
        before, after = baseline.environment.get(what), other.environment.get(what)
        if before != after:
            changes.append({"what": what, "before": before, "after": after})
    return changes


def _caution(baseline: ProfileRun, other: ProfileRun) -> list[str]:
    """Sentences with reasons against comparing the two runs."""
    sentences = []
    if baseline.settings_class != other.settings_class:
        sentences.append("Prompts or lengths differ: the two runs did different work.")
    if not {*_concurrencies(baseline)} & {*_concurrencies(other)}:
        sentences.append("No stage of one has the concurrency of a stage of the other.")
    sentences += [
        f"The machine was busy when {run.pk} began: load average {busy:g} on {run.environment['cpus']} processors."
        for run in (baseline, other)
        if (busy := _busy(run))
    ]
    return sentences


def _concurrencies(run: ProfileRun) -> list[int]:
    return list(run.settings.get("concurrency", ()))


def _busy(run: ProfileRun) -> float | None:
    """The load average of the last minute before a run, where it left less than half of the processors free."""
    before = run.environment.get("before", {}).get("load_average") or [0.0]
    return float(before[0]) if before[0] > (run.environment.get("cpus") or 1) / 2 else None


def baseline_of(*, run: ProfileRun) -> ProfileRun | None:
    """The marked run of the same model and class, or the last complete one before it."""
    same = ProfileRun.objects.filter(model=run.model_id, settings_class=run.settings_class, complete=True).exclude(
        pk=run.pk
    )
    before = same.filter(started_at__lt=run.started_at).order_by("-started_at")
    return same.filter(baseline=True).first() or before.first()


def with_baseline(*, run: ProfileRun) -> None:
    """Compare a new run with its baseline, where there is one; the run is not saved."""
    baseline = baseline_of(run=run)
    if baseline is not None:
        (run.comparison,) = compare(runs=[baseline, run])["comparisons"]
        run.compared_with = baseline


def report_regression(*, run: ProfileRun, actor: str) -> None:
    """Publish an event with the figures when a run is worse than its baseline."""
    contrasts = (run.comparison or {}).get("contrasts", [])
    worse = [contrast for contrast in contrasts if contrast["verdict"] == Verdict.WORSE]
    if worse:
        events.publish(
            name=EventName.PROFILE_REGRESSED,
            subject=run.model.key,
            message=f"{run.model.key} is worse than its baseline: {'; '.join(map(in_words, worse))}.",
            actor=actor,
            cause="compared with the baseline",
            job_id=run.job_id,
            data=run.comparison | {"worse": worse},
        )


def in_words(contrast: dict[str, Any]) -> str:
    """`ttft_ms at 4 at a time is 1.31 times (95 %: 1.22 to 1.4)`."""
    ratio = "not comparable" if contrast["ratio"] is None else f"{contrast['ratio']:.3g} times"
    within = ""
    if contrast["low"] is not None and contrast["high"] is not None:
        within = f" (95 %: {contrast['low']:.3g} to {contrast['high']:.3g})"
    return f"{contrast['figure']} at {contrast['concurrency']} at a time is {ratio}{within}"
