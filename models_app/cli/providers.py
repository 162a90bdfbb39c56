"""The command that lists the providers: what the last contact with each met."""

from __future__ import annotations

from typing import Any

import typer

from models_app.cli import output
from models_app.cli.session import session_of


def providers(context: typer.Context) -> None:
    """List the providers, and what the last request, test or discovery met."""
    session = session_of(context)
    found = session.client.get("/api/v1/providers")["providers"]
    if session.as_json:
        output.show_json(found)
        return
    columns = ("PROVIDER", "KIND", "ADDRESS", "STATE", "SINCE", "WHY")
    output.show_table(columns, [_row(provider) for provider in found])


def _row(provider: dict[str, Any]) -> list[Any]:
    state = provider["state"]
    word = state["name"].replace("_", " ")
    if state["until"]:
        word = f"{word} until {state['until']}"
    return [provider["slug"], provider["kind"], provider["base_url"], word, state["at"], state["reason"]]
