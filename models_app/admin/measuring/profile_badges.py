"""Profile runs as table rows and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.safestring import SafeString

from models_app.admin.parts import badges, units
from models_app.domain.measuring import figures
from models_app.models import ProfileRun

_VERDICTS = {
    "better": ("faster", "good"),
    "worse": ("slower", "bad"),
    "mixed": ("some faster, some slower", "warn"),
    "no_difference_shown": ("no difference shown", "quiet"),
    "not_enough_data": ("not enough requests", "quiet"),
}
Words = Callable[[float | None], str]
# The figures of a stage that are shown, by their keys in the summary.
FIGURES: Mapping[str, tuple[str, Words]] = {
    "ttft_ms": ("First token", units.milliseconds),
    "itl_ms": ("Between tokens", units.milliseconds),
    "e2el_ms": ("Whole answer", units.milliseconds),
    "generation_tokens_per_second": ("Speed of one answer", units.speed),
    "prompt_tokens_per_second": ("Speed of reading", units.speed),
}


def row(run: ProfileRun) -> dict[str, Any]:
    """The figures of the first stage, and the verdict against the baseline."""
    return {
        "when": badges.ago(run.started_at),
        "state": state(run),
        "loads": loads(run),
        "ttft": units.milliseconds(figure(run, "ttft_ms")),
        "speed": units.speed(figure(run, "generation_tokens_per_second")),
        "latency": units.milliseconds(figure(run, "e2el_ms")),
        "verdict": verdict(run),
    }


def stages(run: ProfileRun) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (run.summary or {}).get("stages") or []
    return found


def figure(run: ProfileRun, name: str) -> float | None:
    """The median of the first stage."""
    first = next(iter(stages(run)), {})
    found: float | None = (first.get(name) or {}).get("p50")
    return found


def state(run: ProfileRun) -> SafeString:
    return badges.badge(str(run.state), None if run.complete else "warn")


def loads(run: ProfileRun) -> str:
    return ", ".join(str(number) for number in run.settings.get("concurrency", ()))


def verdict(run: ProfileRun) -> Any:
    if run.baseline:
        return badges.badge("baseline", "current")
    return verdict_badge(run.comparison["verdict"]) if run.comparison else units.NOTHING


def verdict_badge(word: str) -> SafeString:
    text, tone = _VERDICTS.get(word, (word, "quiet"))
    return badges.badge(text, tone)


def page(run: ProfileRun) -> dict[str, Any]:
    """Template context of a run's page."""
    return {
        "run": run,
        "stages": [_stage(stage) for stage in stages(run)],
        "why": run.incomplete_reason,
    }


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    return {
        "concurrency": stage["concurrency"],
        "requests": f"{stage['succeeded']:,} of {stage['requests']:,} succeeded",
        "remark": figures.remark(stage),
        "throughput": f"{units.rate(stage.get('output_throughput') or 0)} tokens/s in all",
        "figures": [
            (
                label,
                *(words(stage[name].get(point)) for point in ("p50", "p95", "p99")),
                interval(stage[name], "p50", words),
            )
            for name, (label, words) in FIGURES.items()
            if stage.get(name)
        ],
    }


def interval(summary: Mapping[str, Any], point: str, words: Words) -> str:
    """Both ends of the 95 % interval of a figure."""
    low, high = (summary.get("ci") or {}).get(point) or (None, None)
    if low is None or high is None:
        return "not known"
    return f"{words(low)} to {words(high)}"
