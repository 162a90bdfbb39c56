"""Commands for API keys: keys, limits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models_app.cli import output
from models_app.cli.failures import ExitCode, Failure
from models_app.cli.session import session_of

_NO_LIMIT = " 0 is no limit, even if there is a default."


def keys(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many.")] = 50,
) -> None:
    """List the API keys, newest first."""
    session = session_of(context)
    found = session.client.get("/api/v1/api-keys", {"limit": limit})["api_keys"]
    if session.as_json:
        output.show_json(found)
        return
    names = ("key_id", "name", "state", "scopes", "limits", "last_used_at")
    columns = ("ID", "NAME", "STATE", "SCOPES", "LIMITS", "LAST USED")
    output.show_table(columns, [[row[name] for name in names] for row in found])


def limits(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id: see 'noa keys'.")],
    requests_per_minute: Annotated[int | None, typer.Option(min=0, help=_NO_LIMIT)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0, help=_NO_LIMIT)] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=0, help=_NO_LIMIT)] = None,
    monthly_tokens: Annotated[int | None, typer.Option(min=0, help=_NO_LIMIT)] = None,
    monthly_budget_usd: Annotated[float | None, typer.Option(min=0, help=_NO_LIMIT)] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(help="An address or network that can use it; repeatable."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove its own limits first.")] = False,
) -> None:
    """Show or change the limits of an API key."""
    if not key_id.isalnum():
        raise Failure(f"'{key_id}' is not a key id; 'noa keys' lists them.", ExitCode.USAGE)
    session = session_of(context)
    path = f"/api/v1/api-keys/{key_id}"
    key = session.client.get(path)
    options = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrent": max_concurrent,
        "monthly_tokens": monthly_tokens,
        "monthly_budget_usd": monthly_budget_usd,
        "addresses": address,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    if changes or clear:
        own: dict[str, Any] = {} if clear else key["limits"]
        key = session.client.patch(path, {"limits": own | changes})
    if session.as_json:
        output.show_json(key)
        return
    fields = [("key", f"{key['name']} ({key['key_id']})"), *sorted(key["limits"].items())]
    output.show_fields(fields)
    if not key["limits"]:
        output.message("It has no limits of its own; the default of all keys applies (NOA_KEY_LIMITS).")
