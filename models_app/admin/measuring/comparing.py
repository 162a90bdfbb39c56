"""Two or more profiles side by side, with intervals and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET

from models_app.admin.measuring import profile_badges
from models_app.admin.measuring.profile_badges import FIGURES
from models_app.admin.parts import badges, bars, units
from models_app.domain.errors import NoaError
from models_app.models import ProfileRun
from models_app.services.api_keys import staff
from models_app.services.profiling import comparing

# Rows of the list to choose from.
_RUNS_SHOWN = 100
_CONTRASTS = {
    "ttft_ms": "First token",
    "tpot_ms": "Time per token",
    "e2el_ms": "Whole answer",
    "success_rate": "Success",
}
_TONES = {"better": "good", "worse": "bad"}


@require_GET
def compare(request: HttpRequest) -> HttpResponse:
    """GET /admin/compare/?run=…&run=… or ?runs=…,…: ids of runs, or keys of models for their newest run."""
    if not staff.may_view(user=request.user, table="profilerun"):
        raise PermissionDenied
    names = [name for name in request.GET.getlist("run") if name]
    names += [name.strip() for name in request.GET.get("runs", "").split(",") if name.strip()]
    context = {
        **admin.site.each_context(request),
        "title": "Compare profiles",
        "chosen": names,
        "runs": _choices(names),
        **_compared(names),
    }
    return TemplateResponse(request, "admin/noa/compare.html", context)


def _choices(names: Sequence[str]) -> list[tuple[ProfileRun, dict[str, Any], bool]]:
    rows = ProfileRun.objects.filter(complete=True).select_related("model").order_by("-started_at")
    return [(run, profile_badges.row(run), str(run.pk) in names) for run in rows[:_RUNS_SHOWN]]


def _compared(names: Sequence[str]) -> dict[str, Any]:
    if len(names) < 2:
        return {}
    try:
        runs = comparing.runs_named(names=names)
        found = comparing.compare(runs=runs)
    except NoaError as error:
        return {"problem": error.message}
    columns = [(bars.tone(number), run) for number, run in enumerate(runs)]
    return {
        "columns": columns,
        "charts": [_chart(name, label, columns) for name, (label, _) in FIGURES.items()],
        "verdicts": [
            _verdict(runs[number], comparison, runs) for number, comparison in enumerate(found["comparisons"], 1)
        ],
        "tolerance": units.percent(found["tolerance"]),
    }


def _chart(name: str, label: str, columns: Sequence[tuple[str, ProfileRun]]) -> dict[str, Any]:
    """One figure: a group of bars for each concurrency, one bar for each run."""
    words = FIGURES[name][1]
    found = [
        (stage["concurrency"], tone, run, stage[name])
        for tone, run in columns
        for stage in profile_badges.stages(run)
        if stage.get(name) and stage[name].get("p50") is not None
    ]
    top = max((_high(summary) for *_, summary in found), default=1.0) or 1.0
    groups: dict[int, list[dict[str, Any]]] = {}
    for concurrency, tone, run, summary in sorted(found, key=lambda point: point[0]):
        groups.setdefault(concurrency, []).append(
            {
                "run": run,
                "value": words(summary["p50"]),
                "interval": profile_badges.interval(summary, "p50", words),
                "bar": bars.whisker(
                    tone, summary["p50"], _ends(summary), top=top, label=f"{run.model.key}: {words(summary['p50'])}"
                ),
            }
        )
    return {"label": label, "groups": sorted(groups.items())}


def _ends(summary: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = (summary.get("ci") or {}).get("p50") or (None, None)
    return low, high


def _high(summary: Mapping[str, Any]) -> float:
    value: float = summary["p50"]
    return max(value, _ends(summary)[1] or 0.0)


def _verdict(run: ProfileRun, found: Mapping[str, Any], runs: Sequence[ProfileRun]) -> dict[str, Any]:
    return {
        "run": run,
        "badge": profile_badges.verdict_badge(found["verdict"]),
        "changed": [
            f"{change['what'].replace('_', ' ')}: {_short(change['before'])} → {_short(change['after'])}"
            for change in found["changed"]
        ],
        "caution": [_named(sentence, runs) for sentence in found["caution"]],
        "lines": [_line(contrast) for contrast in found["contrasts"]],
    }


def _named(sentence: str, runs: Sequence[ProfileRun]) -> str:
    """Replace the ids of runs with the keys of their models."""
    for run in runs:
        sentence = sentence.replace(str(run.pk), f"that of {run.model.key}")
    return sentence


def _short(value: Any) -> str:
    text = units.NOTHING if value in (None, {}, "") else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _line(contrast: Mapping[str, Any]) -> tuple[Any, ...]:
    tone = _TONES.get(contrast["verdict"], "quiet")
    return (
        f"{_CONTRASTS[contrast['figure']]}, {contrast['concurrency']} at a time",
        badges.badge(_change(contrast["ratio"]), tone),
        "not known"
        if contrast["low"] is None or contrast["high"] is None
        else f"{_change(contrast['low'])} to {_change(contrast['high'])}",
        contrast["verdict"].replace("_", " "),
    )


def _change(ratio: float | None) -> str:
    """The change as text: 1.18 is `+18 %`."""
    if ratio is None:
        return units.NOTHING
    percent = round((ratio - 1) * 100)
    sign = "+" if percent > 0 else "\N{MINUS SIGN}" if percent < 0 else ""
    return f"{sign}{abs(percent)}\N{NO-BREAK SPACE}%"
