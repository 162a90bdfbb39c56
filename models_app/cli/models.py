"""Commands that read the registry: ls, show, ps."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from models_app.cli import output
from models_app.cli.client import key_path
from models_app.cli.session import session_of
from models_app.domain.catalog.capabilities import Capability
from models_app.domain.states import ModelStatus

_MODEL_FIELDS = (
    "key",
    "name",
    "description",
    "status",
    "deprecated",
    "capabilities",
    "context_window",
    "max_output_tokens",
    "load_options",
    "tags",
    "created_at",
    "updated_at",
)
_VERSION_FIELDS = ("path", "sha256", "quantization", "architecture")


def ls(
    context: typer.Context,
    provider: Annotated[str | None, typer.Option(metavar="SLUG", help="Only models of this provider.")] = None,
    capability: Annotated[
        list[Capability] | None, typer.Option(help="Only models that can do this; repeatable.")
    ] = None,
    status: Annotated[ModelStatus | None, typer.Option(help="Only models in this status.")] = None,
    text: Annotated[str | None, typer.Option("-q", metavar="TEXT", help="Part of the key or the name.")] = None,
) -> None:
    """List the registered models."""
    session = session_of(context)
    words = [word.value for word in capability or []]
    found = session.models(provider=provider, capability=words, status=status.value if status else None, q=text)
    if session.as_json:
        output.show_json(found)
        return
    if not found:
        output.message("No models. Put GGUF files into the model folder, then run 'noa discover'.")
    columns = ("KEY", "STATUS", "CONTEXT", "SIZE", "QUANTIZATION", "CAPABILITIES")
    output.show_table(columns, [_row(model) for model in found])


def _row(model: dict[str, Any]) -> list[Any]:
    version = model["version"] or {}
    return [
        model["key"],
        model["status"],
        model["context_window"],
        output.size(version.get("size_bytes")),
        version.get("quantization"),
        model["capabilities"],
    ]


def show(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The model's key, or its id if only one has it.")],
) -> None:
    """Show one model in detail."""
    session = session_of(context)
    model = session.client.get(key_path(session.key_of(key)))
    if session.as_json:
        output.show_json(model)
        return
    fields = [(name, model[name]) for name in _MODEL_FIELDS]
    failure = model["failure"]
    if failure:
        fields.append(("failure", f"{failure['reason']} (stage '{failure['stage']}')"))
        if failure.get("next_attempt_at"):
            fields.append(("next attempt", failure["next_attempt_at"]))
    version = model["version"]
    if version:
        fields += [(name, version[name]) for name in _VERSION_FIELDS]
        fields.append(("size", output.size(version["size_bytes"])))
    output.show_fields(fields)


def ps(context: typer.Context) -> None:
    """List the loaded models with their memory and load."""
    session = session_of(context)
    loaded = session.client.get("/api/v1/models/loaded")
    if session.as_json:
        output.show_json(loaded)
        return
    if not loaded["instances"]:
        output.message("No model is loaded. 'noa load KEY' loads one.")
    columns = ("KEY", "STATE", "CURRENT", "IN FLIGHT", "SLOTS", "CONTEXT", "MEMORY", "PID")
    rows = [
        [
            instance["key"],
            instance["state"],
            instance["key"] == loaded["current_model"],
            instance["in_flight"],
            instance["slots"],
            instance["context_tokens"],
            output.size(instance["memory_bytes"]),
            instance["pid"],
        ]
        for instance in loaded["instances"]
    ]
    output.show_table(columns, rows)
