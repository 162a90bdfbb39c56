"""Waits for a job, and reports its steps and progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Protocol

from models_app.cli import output
from models_app.cli.client import Client
from models_app.cli.failures import ExitCode, Failure
from models_app.domain.states import TERMINAL_JOB_STATES, JobState

Job = dict[str, Any]

# Seconds between polls: a smooth bar at a negligible cost for the server.
_POLL_SECONDS = 0.2


class Show(Protocol):
    def __call__(self, job: Job) -> None: ...


def follow(client: Client, job: Job, *, timeout: float) -> Job:
    """Wait for the job and return it once it has succeeded.

    Raises Failure when it fails, after `timeout` seconds and on Ctrl-C; in the last two cases the job continues.
    """
    deadline = monotonic() + timeout
    try:
        with _shown() as show:
            show(job)
            while job["state"] not in TERMINAL_JOB_STATES:
                if monotonic() >= deadline:
                    raise _detached(job, f"Not done after {timeout:g} s.", ExitCode.TIMED_OUT)
                sleep(_POLL_SECONDS)
                job = client.get(f"/api/v1/jobs/{job['id']}")
                show(job)
    except KeyboardInterrupt:
        raise _detached(job, "Stopped waiting.", ExitCode.INTERRUPTED) from None
    if job["state"] != JobState.SUCCEEDED:
        raise Failure(_reason(job), ExitCode.REFUSED)
    return job


def _detached(job: Job, why: str, code: ExitCode) -> Failure:
    return Failure(f"{why} The job continues on the server; 'noa job {job['id']} --wait' follows it.", code)


def _reason(job: Job) -> str:
    error = job["error"]
    return str(error["message"]) if error else f"The job was {job['state']}."


@contextmanager
def _shown() -> Iterator[Show]:
    with _bar() if sys.stderr.isatty() else _lines() as show:
        yield show


class _Finished:
    """Returns each finished step once."""

    def __init__(self) -> None:
        self._reported = 0

    def take(self, job: Job) -> list[str]:
        ended = []
        for step in job["steps"][self._reported :]:
            if step["state"] == "running":
                break
            self._reported += 1
            failed = "" if step["state"] == "done" else ", failed"
            ended.append(f"{_title(step)} ({step['seconds']:.1f} s{failed})")
        return ended


def _title(step: dict[str, Any]) -> str:
    return output.visible(f"{step['name']}: {step['detail']}" if step["detail"] else step["name"])


@contextmanager
def _lines() -> Iterator[Show]:
    finished = _Finished()

    def show(job: Job) -> None:
        for line in finished.take(job):
            output.message(line)

    yield show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    finished = _Finished()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("queued", total=1.0)

        def show(job: Job) -> None:
            for line in finished.take(job):
                progress.console.print(line, markup=False, highlight=False)
            running = [_title(step) for step in job["steps"] if step["state"] == "running"]
            text = running[-1] if running else str(job["state"])
            progress.update(task, completed=job["progress"], description=escape(text))

        yield show
