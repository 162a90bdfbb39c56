"""Profiles as files: CSV for spreadsheets, and Markdown for readers without access to NOA."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from models_app.domain.measuring import figures
from models_app.domain.measuring.figures import FRACTIONS
from models_app.models import ProfileRun

_COLUMNS = (
    "stage",
    "concurrency",
    "number",
    "ok",
    "error",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "started_ms",
    "ttft_ms",
    "e2el_ms",
)
_FIGURES = {
    "ttft_ms": "time to first token, ms",
    "tpot_ms": "time per output token, ms",
    "itl_ms": "inter-token latency, ms",
    "e2el_ms": "end-to-end latency, ms",
    "prompt_tokens_per_second": "prompt tokens/s (pp)",
    "generation_tokens_per_second": "generation tokens/s (tg)",
}
_METHOD = (
    "In brackets: 95 % confidence intervals, by order statistics for percentiles and by the studentised bootstrap for "
    "means; of inter-token latencies by resampling whole requests. `?`: too few samples to bound this end."
)
_TEST = (
    "A ratio is the candidate's geometric mean by the baseline's. A difference is reported when it is significant in a "
    "permutation test of Welch's statistic on logarithms (Fisher's exact test for success rates), at 5 % after Holm's "
    "correction for all figures of this report, and larger than the tolerance of {tolerance:.0%}."
)


def as_csv(run: ProfileRun) -> str:
    """The samples, one line each."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*_COLUMNS, "tpot_ms", "gaps_ms"))
    for row in run.samples.all():
        tokens = (row.completion_tokens or 0) - 1
        known = row.ok and row.ttft_ms is not None and tokens > 0
        tpot = round((row.e2el_ms - (row.ttft_ms or 0)) / tokens, 3) if known else ""
        values = [_spelled(getattr(row, name)) for name in _COLUMNS]
        writer.writerow([*values, tpot, " ".join(map(str, row.gaps_ms))])
    return file.getvalue()


def _spelled(value: Any) -> Any:
    """Escapes text that a spreadsheet would interpret as a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def as_markdown(run: ProfileRun) -> str:
    """One profile as a page: settings, machine, figures, and the comparison with its baseline."""
    lines = [f"# Profile of {run.model.key}", "", *_about(run), ""]
    for stage in (run.summary or {}).get("stages", ()):
        lines += _stage(stage)
    if run.comparison:
        lines += [
            f"## Compared with {run.comparison['baseline']}",
            "",
            *_comparison(run.comparison),
        ]
    return "\n".join([*lines, _METHOD, ""])


def comparison_as_markdown(found: Mapping[str, Any]) -> str:
    """The result of `comparing.compare` as a page."""
    runs: Sequence[ProfileRun] = found["runs"]
    lines = ["# Profiles compared", ""]
    for run in runs:
        lines += [f"## {run.model.key}, {run.started_at:%Y-%m-%d %H:%M}", "", *_about(run), ""]
        for stage in (run.summary or {}).get("stages", ()):
            lines += _stage(stage)
    for item in found["comparisons"]:
        lines += [f"## {item['run']} against {item['baseline']}", "", *_comparison(item)]
    return "\n".join([*lines, _METHOD, "", _TEST.format(tolerance=found["tolerance"]), ""])


def _about(run: ProfileRun) -> list[str]:
    about = run.environment
    facts = {
        "profile": run.pk,
        "state": run.state + (f": {run.incomplete_reason}" if run.incomplete_reason else ""),
        "begun": f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "engine": about.get("engine"),
        "file (SHA-256)": about.get("sha256"),
        "quantization": about.get("quantization"),
        "load options": about.get("options") or "NOA's own",
        "context, slots": f"{about.get('context_tokens')}, {about.get('slots')}",
        "node, processor": f"{about.get('node')}, {about.get('cpus')} x {about.get('processor') or 'unknown'}",
        "load average before, after": f"{_load(about, 'before')}, {_load(about, 'after')}",
        "load time": _with_unit((run.summary or {}).get("load_seconds"), "s"),
        **{name: value for name, value in run.settings.items() if name != "prompts"},
        "prompts": f"{len(run.settings['prompts'])} of the operator" if run.settings.get("prompts") else "NOA's own",
    }
    return _table(("", ""), ((name, _text(value)) for name, value in facts.items()))


def _load(about: Mapping[str, Any], when: str) -> str:
    return " ".join(map(str, about.get(when, {}).get("load_average", ["unknown"])))


def _stage(stage: Mapping[str, Any]) -> list[str]:
    memory, energy = stage.get("peak_memory", {}), stage.get("energy", {})
    rows = [
        (word, *(_with_interval(stage[figure], name) for name in ("mean", *FRACTIONS)))
        for figure, word in _FIGURES.items()
    ]
    peak = memory.get("rss_bytes")
    joules = energy.get("joules_per_token")
    memory_text = f"{peak / 2**20:.0f} MiB" if peak else f"unknown ({memory.get('reason')})"
    energy_text = f"{joules} J" if joules is not None else f"unknown ({energy.get('reason')})"
    return [
        f"### {stage['concurrency']} at a time",
        "",
        f"{stage['succeeded']} of {stage['requests']} requests succeeded in {stage['seconds']} s: "
        f"{stage['request_throughput']} requests/s, {stage['output_throughput']} output tokens/s, "
        f"{stage['total_token_throughput']} tokens/s in all. "
        f"Peak memory (RSS) {memory_text}; energy per output token {energy_text}. {figures.remark(stage)}".rstrip(),
        "",
        *_table(("", "mean", *FRACTIONS), rows),
        "",
    ]


def _with_interval(figure: Mapping[str, Any], name: str) -> str:
    low, high = figure["ci"][name]
    return f"{_number(figure[name])} ({_number(low)} to {_number(high)})"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


def _with_unit(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3g} {unit}"


def _comparison(found: Mapping[str, Any]) -> list[str]:
    lines = [f"**{str(found['verdict']).replace('_', ' ').capitalize()}.**", ""]
    lines += [
        f"* {change['what']}: {_text(change['before'])} became {_text(change['after'])}" for change in found["changed"]
    ] or ["* Model, engine, options and machine are the same."]
    lines += [f"* {sentence}" for sentence in found["caution"]] + [""]
    columns = (
        "at a time",
        "figure",
        "baseline",
        "candidate",
        "ratio (95 %)",
        "p, corrected",
        "verdict",
    )
    return [*lines, *_table(columns, map(_contrast, found["contrasts"])), ""]


def _contrast(found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(found["concurrency"]),
        found["figure"],
        _number(found["baseline"]),
        _number(found["candidate"]),
        f"{_number(found['ratio'])} ({_number(found['low'])} to {_number(found['high'])})",
        _number(found["p_adjusted"]),
        found["verdict"].replace("_", " "),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _text(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
