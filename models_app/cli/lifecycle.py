"""Commands that start jobs: load, unload, switch, discover; and job, which follows one."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from models_app.cli import jobs, output, residency
from models_app.cli.session import session_of
from models_app.domain.traffic.routing import CURRENT_ROUTE

# Longer than the server's timeouts of a load (NOA_LOAD_TIMEOUT, 600 s by default) and a drain together.
_TIMEOUT = 900.0

Key = Annotated[str, typer.Argument(metavar="KEY", help="The model's key, or its id if only one has it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the job, or print its id at once.")]
Timeout = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="The longest wait; the job continues after it."),
]


def load(
    context: typer.Context,
    key: Key,
    ctx: Annotated[int | None, typer.Option(metavar="N", help="Tokens of context, over all slots.")] = None,
    slots: Annotated[int | None, typer.Option(metavar="N", help="Requests decoded at the same time.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Tokens of one decode step.")] = None,
    threads: Annotated[int | None, typer.Option(metavar="N", help="Threads of llama.cpp.")] = None,
    gpu_layers: Annotated[int | None, typer.Option(metavar="N", help="Layers on the GPU; -1 is all.")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Reduce the context if memory is too small.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only estimate; load nothing.")] = False,
    wait: Wait = True,
    timeout: Timeout = _TIMEOUT,
) -> None:
    """Load a model. The server chooses the options that are omitted."""
    session = session_of(context)
    named = {
        "n_ctx": ctx,
        "slots": slots,
        "n_batch": batch,
        "n_threads": threads,
        "n_gpu_layers": gpu_layers,
    }
    options = {name: value for name, value in named.items() if value is not None}
    body: dict[str, Any] = {"key": session.key_of(key), "options": options}
    if fit:
        body["fit"] = True
    if estimate:
        residency.show_estimate(session, body)
        return
    job = session.run_job("/api/v1/models/load", body, wait=wait, timeout=timeout)
    if job:
        _show_result(session.as_json, job)


def unload(context: typer.Context, key: Key, wait: Wait = True, timeout: Timeout = _TIMEOUT) -> None:
    """Finish the requests in flight, then stop the model's runner."""
    session = session_of(context)
    body = {"key": session.key_of(key)}
    job = session.run_job("/api/v1/models/unload", body, wait=wait, timeout=timeout)
    if job:
        _show_result(session.as_json, job)


def switch(
    context: typer.Context,
    key: Key,
    route: Annotated[str, typer.Option(metavar="NAME", help="The route to move.")] = CURRENT_ROUTE,
    keep_previous: Annotated[bool, typer.Option("--keep-previous", help="Keep the previous model loaded.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the model cannot answer what the route answered in the last day.")
    ] = False,
    wait: Wait = True,
    timeout: Timeout = _TIMEOUT,
) -> None:
    """Move a route to another model without a failed request."""
    session = session_of(context)
    body = {"key": session.key_of(key), "route": route, "keep_previous": keep_previous, "force": force}
    job = session.run_job("/api/v1/models/switch", body, wait=wait, timeout=timeout)
    if job:
        _show_result(session.as_json, job)


def discover(
    context: typer.Context,
    provider: Annotated[str | None, typer.Argument(help="Only this provider.")] = None,
    wait: Wait = True,
    timeout: Timeout = _TIMEOUT,
) -> None:
    """List the providers' models, and scan the server's model folders for GGUF files."""
    session = session_of(context)
    body = {"provider": provider} if provider else {}
    job = session.run_job("/api/v1/models/discover", body, wait=wait, timeout=timeout)
    if job:
        _show_result(session.as_json, job)


def job(
    context: typer.Context,
    job_id: Annotated[UUID, typer.Argument(metavar="ID", help="The job's id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    timeout: Timeout = _TIMEOUT,
) -> None:
    """Show a job: its state, its steps, its result or its error."""
    session = session_of(context)
    found = session.client.get(f"/api/v1/jobs/{job_id}")
    if wait:
        _show_result(session.as_json, jobs.follow(session.client, found, timeout=timeout))
    elif session.as_json:
        output.show_json(found)
    else:
        output.show_fields(_job_fields(found))


def _job_fields(found: jobs.Job) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = [
        (name, found[name]) for name in ("id", "kind", "subject", "state", "actor", "node", "created_at", "finished_at")
    ]
    fields.append(("progress", f"{found['progress']:.0%}"))
    for step in found["steps"]:
        words = [step["state"], output.seconds(step["seconds"]), step["detail"]]
        fields.append((f"step {step['name']}", " ".join(word for word in words if word)))
    if found["error"]:
        fields.append(("error", f"{found['error']['message']} ({found['error']['code']})"))
    return fields


def _show_result(as_json: bool, done: jobs.Job) -> None:
    if as_json:
        output.show_json(done)
        return
    describe = _RESULTS.get(done["kind"], _other)
    output.show_lines(output.visible(line) for line in describe(done["result"] or {}))


def _loaded(result: dict[str, Any]) -> list[str]:
    memory = output.cell(output.size(result["memory_bytes"]))
    took = output.cell(output.seconds(result["load_seconds"]))
    return [f"{result['key']} is loaded (load time {took}, memory {memory}).", *result.get("notes", ())]


def _unloaded(result: dict[str, Any]) -> list[str]:
    consequence = result.get("consequence")
    return [f"{result['key']} is unloaded.", *([consequence] if consequence else [])]


def _switched(result: dict[str, Any]) -> list[str]:
    before = result["previous"] or "nothing"
    return [f"'{result['route']}' leads to {result['current']} now (before: {before})."]


def _discovered(result: dict[str, Any]) -> list[str]:
    return [line for slug, found in sorted(result["providers"].items()) for line in _discovered_at(slug, found)]


def _discovered_at(slug: str, found: dict[str, Any]) -> list[str]:
    if found["failed"]:
        return [f"{slug}: failed: {found['failed']['message']}"]
    words = ("new", "changed", "gone", "refused")
    counts = [f"{found['found']} found", *(f"{len(found[word])} {word}" for word in words)]
    lines = [f"{slug}: {', '.join(counts)}"]
    lines += [f"{word}: {key}" for word in ("new", "changed", "gone") for key in found[word]]
    lines += [f"refused: {item['name']}: {item['reason']}" for item in found["refused"]]
    return lines


def _other(result: dict[str, Any]) -> list[str]:
    return [f"{name}: {output.cell(value)}" for name, value in result.items()]


_RESULTS = {
    "load": _loaded,
    "unload": _unloaded,
    "switch": _switched,
    "discover": _discovered,
}
