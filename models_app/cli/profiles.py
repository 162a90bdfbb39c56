"""Commands that measure models and compare the results: profile, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from models_app.cli import output
from models_app.cli.client import key_path
from models_app.cli.failures import ExitCode, Failure
from models_app.cli.session import session_of

# Enough for long answers of a large model at several concurrencies.
_TIMEOUT = 3600.0
_FIGURES = (
    ("TTFT ms", "ttft_ms"),
    ("TPOT ms", "tpot_ms"),
    ("E2EL ms", "e2el_ms"),
    ("PP tok/s", "prompt_tokens_per_second"),
    ("TG tok/s", "generation_tokens_per_second"),
)


def profile(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A loaded model.")],
    concurrency: Annotated[
        str, typer.Option(metavar="N,N…", help="Concurrent requests; one stage for each number.")
    ] = "1",
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests per stage.")] = 10,
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum length of answers.")] = 64,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Length of generated filler prompts.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own prompts, one on each line.")] = None,
    warmup: Annotated[int, typer.Option(min=0, metavar="N", help="Unmeasured requests before the first stage.")] = 2,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the job.")] = True,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="The longest wait.")] = _TIMEOUT,
) -> None:
    """Measure a loaded model with real requests, and compare with its baseline."""
    session = session_of(context)
    key = session.key_of(key)
    body = {
        "concurrency": _numbers(concurrency),
        "requests": requests,
        "max_tokens": max_tokens,
        "prompt_tokens": prompt_tokens,
        "prompts": _lines(prompts) if prompts else [],
        "warmup": warmup,
    }
    job = session.run_job(f"{key_path(key)}/profile", body, wait=wait, timeout=timeout)
    if job is None:
        return
    if session.as_json:
        output.show_json(job)
        return
    result = job["result"]
    stages = result["summary"]["stages"]
    columns = ("AT ONCE", "OK", *(word for word, _ in _FIGURES), "OUT tok/s")
    output.show_table(columns, [_stage(stage) for stage in stages])
    output.message(f"Profile {result['profile']}. p50 and its 95 % interval.")
    if bunched := sum(stage.get("bunched", 0) for stage in stages):
        output.message(f"The tokens of {bunched} answers came together: they have no speed between tokens.")
    if result["comparison"]:
        output.message(f"Against the baseline: {_words(result['comparison']['verdict'])}.")


def compare(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Ids of profiles, or keys of models; the first is the baseline."),
    ],
    tolerance: Annotated[
        float | None, typer.Option(metavar="SHARE", help="The smallest relative change that counts: 0.1 is 10 %.")
    ] = None,
) -> None:
    """Compare profiles, with a verdict for each figure."""
    session = session_of(context)
    query = {"runs": ",".join(runs), "tolerance": tolerance}
    found = session.client.get("/api/v1/profiles/compare", query)
    if session.as_json:
        output.show_json(found)
        return
    keys = {run["id"]: run["key"] for run in found["runs"]}
    rows = [
        [
            keys[comparison["run"]],
            contrast["concurrency"],
            contrast["figure"],
            contrast["ratio"],
            _span(contrast["low"], contrast["high"]),
            _words(contrast["verdict"]),
        ]
        for comparison in found["comparisons"]
        for contrast in comparison["contrasts"]
    ]
    output.show_table(("RUN", "AT ONCE", "FIGURE", "RATIO", "95 %", "VERDICT"), rows)
    for comparison in found["comparisons"]:
        verdict = _words(comparison["verdict"])
        output.message(f"{keys[comparison['run']]} against {keys[comparison['baseline']]}: {verdict}.")
        for sentence in comparison["caution"]:
            output.message(sentence)


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise Failure(f"'{text}' is not a list of numbers. Example: --concurrency 1,4.", ExitCode.USAGE)
    return [int(part) for part in parts]


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}", ExitCode.USAGE) from error
    if not lines:
        raise Failure(f"{path} contains no prompts; write one per line.", ExitCode.USAGE)
    return lines


def _stage(stage: dict[str, Any]) -> list[Any]:
    figures = [_figure(stage[name]) for _, name in _FIGURES]
    counts = f"{stage['succeeded']}/{stage['requests']}"
    return [stage["concurrency"], counts, *figures, stage["output_throughput"]]


def _figure(figure: dict[str, Any]) -> str | None:
    if figure["p50"] is None:
        return None
    return f"{figure['p50']:.4g} ({_span(*figure['ci']['p50'])})"


def _span(low: float | None, high: float | None) -> str:
    return " to ".join("?" if end is None else f"{end:.4g}" for end in (low, high))


def _words(verdict: str) -> str:
    return verdict.replace("_", " ")
