"""State of every command: the server, and the output format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from models_app.cli import jobs, output
from models_app.cli.client import Client
from models_app.cli.failures import ExitCode, Failure

# The server's largest page.
_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Session:
    client: Client
    as_json: bool

    def models(self, **filters: Any) -> list[dict[str, Any]]:
        """Every registered model that matches the filters, from all pages."""
        found: list[dict[str, Any]] = []
        page: int | None = 1
        while page:
            query = filters | {"page": page, "page_size": _PAGE_SIZE}
            answer = self.client.get("/api/v1/models", query)
            found += answer["models"]
            page = page + 1 if answer["next"] else None
        return found

    def key_of(self, name: str) -> str:
        """The key of the model with this key or model id. Raises Failure when there is none or more than one."""
        matches: list[str] = [model["key"] for model in self.models(q=name)]
        if name in matches:
            return name
        same_id = [key for key in matches if key.partition(":")[2] == name]
        if len(same_id) == 1:
            return same_id[0]
        if same_id:
            raise Failure(
                f"'{name}' is a model of more than one provider. Use one of the keys {', '.join(same_id)}.",
                ExitCode.USAGE,
            )
        if ":" in name:
            # It has the form of a key: the server answers with the exact error.
            return name
        hint = f" Did you mean {' or '.join(matches[:3])}?" if matches else " 'noa ls' lists them."
        raise Failure(f"No model is called '{name}'.{hint}", ExitCode.REFUSED)

    def run_job(self, path: str, body: dict[str, Any], *, wait: bool, timeout: float) -> dict[str, Any] | None:
        """Start a job and return it when it has succeeded; without `wait`, print its id and return None."""
        job = self.client.post(path, body)
        if wait:
            return jobs.follow(self.client, job, timeout=timeout)
        if self.as_json:
            output.show_json(job)
        else:
            print(job["id"])
        return None


def session_of(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
