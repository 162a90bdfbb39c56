"""Commands for residency: pin, unpin, history; and estimates of loads."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models_app.cli import output
from models_app.cli.client import key_path
from models_app.cli.session import Session, session_of

Key = Annotated[str, typer.Argument(metavar="KEY", help="The model's key, or its id if only one has it.")]


def show_estimate(session: Session, body: dict[str, Any]) -> None:
    """Print the answer of `POST models/load` with `dry_run`."""
    found = session.client.post("/api/v1/models/load", body | {"dry_run": True})
    if session.as_json:
        output.show_json(found)
        return
    output.show_fields(_estimate_fields(found))


def _estimate_fields(found: dict[str, Any]) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = [
        ("key", found["key"]),
        ("verdict", found["verdict"].replace("_", " ")),
        ("needs", output.size(found["needs_bytes"])),
        ("free", output.size(found["free_bytes"])),
        ("context", found["context_tokens"]),
        ("ready in", output.seconds(found["eta_seconds"])),
    ]
    fields += [(f"unloads {victim['key']}", victim["why"]) for victim in found["would_evict"]]
    fields += [(other["key"], other["why"]) for other in found["others"]]
    return [*fields, ("why", found["why"])] if found["why"] else fields


def pin(context: typer.Context, key: Key) -> None:
    """Pin a model: NOA never evicts it."""
    _set_pin(context, key, True)


def unpin(context: typer.Context, key: Key) -> None:
    """Allow NOA to evict a model again."""
    _set_pin(context, key, False)


def _set_pin(context: typer.Context, key: str, pinned: bool) -> None:
    session = session_of(context)
    found = session.client.patch(key_path(session.key_of(key)), {"pinned": pinned})
    if session.as_json:
        output.show_json(found)
    else:
        output.show_lines([f"{found['key']} is {'pinned' if pinned else 'not pinned'}."])


def history(
    context: typer.Context,
    key: Key,
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 20,
) -> None:
    """Show the history of a model with reasons, newest first."""
    session = session_of(context)
    path = f"{key_path(session.key_of(key))}/history?limit={limit}"
    found = session.client.get(path)
    if session.as_json:
        output.show_json(found)
        return
    rows = [[entry["at"], entry["sentence"]] for entry in found["history"]]
    output.show_table(("AT", "WHAT HAPPENED"), rows)
