"""Commands for jobs: jobs, cancel."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from models_app.cli import output
from models_app.cli.failures import ExitCode, Failure
from models_app.cli.session import session_of
from models_app.domain.states import JobKind, JobState

# A running job reads the cancellation within half a second; its rollback takes longer.
_WAIT_SECONDS = 20


def jobs(
    context: typer.Context,
    kind: Annotated[JobKind | None, typer.Option(help="Only jobs of this kind.")] = None,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 20,
) -> None:
    """List jobs, newest first."""
    session = session_of(context)
    query = {
        "kind": kind.value if kind else None,
        "state": [chosen.value for chosen in state or []],
        "limit": limit,
    }
    found = session.client.get("/api/v1/jobs", query)["jobs"]
    if session.as_json:
        output.show_json(found)
        return
    columns = ("ID", "KIND", "SUBJECT", "STATE", "PROGRESS", "ACTOR", "CREATED")
    names = ("id", "kind", "subject", "state", "progress", "actor", "created_at")
    rows = [job | {"progress": f"{job['progress']:.0%}"} for job in found]
    output.show_table(columns, [[row[name] for name in names] for row in rows])


def cancel(
    context: typer.Context,
    job_id: Annotated[UUID, typer.Argument(metavar="ID", help="The job's id.")],
) -> None:
    """Cancel a job and roll back its steps."""
    session = session_of(context)
    path = f"/api/v1/jobs/{job_id}/cancel?wait={_WAIT_SECONDS}"
    job = session.client.post(path, {}, seconds=_WAIT_SECONDS + 10)
    if session.as_json:
        output.show_json(job)
    elif job["state"] == JobState.CANCELLED:
        output.show_lines([f"The job was cancelled: {job['kind']} {job['subject']}."])
    else:
        raise Failure(f"The job was not cancelled in time: it is {job['state']}.", ExitCode.TIMED_OUT)
