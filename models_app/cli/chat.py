"""`noa chat`: one question, or a conversation, through the gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import typer

from models_app.cli import output
from models_app.cli.client import CHAT_SECONDS, Client
from models_app.cli.failures import ExitCode, Failure, from_error
from models_app.cli.session import session_of
from models_app.domain.traffic.routing import CURRENT_ROUTE

_PATH = "/v1/chat/completions"

Message = dict[str, str]


def chat(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="A route, a key or a model id.", show_default="current"),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Argument(metavar="[PROMPT]", help="The prompt; default: standard input."),
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system message.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="The maximum number of tokens of an answer.")
    ] = None,
) -> None:
    """Send a prompt to a model, or hold a conversation.

    A single argument is the model if a route or a model has that name, otherwise the prompt.
    Without a prompt, standard input is the prompt; at a terminal a conversation starts, which Ctrl-D ends.
    """
    session = session_of(context)
    model, prompt = _model_and_prompt(session.client, model, prompt)
    options: dict[str, Any] = {"model": model}
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    messages = [{"role": "system", "content": system}] if system else []
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is None:
        _converse(session.client, options, messages)
        return
    messages.append({"role": "user", "content": prompt})
    if session.as_json:
        body = options | {"messages": messages}
        output.show_json(session.client.post(_PATH, body, CHAT_SECONDS))
    else:
        _answer(session.client, options, messages)


def _model_and_prompt(client: Client, model: str | None, prompt: str | None) -> tuple[str, str | None]:
    if model is None:
        return CURRENT_ROUTE, None
    if prompt is not None or _is_name(client, model):
        return model, prompt
    return CURRENT_ROUTE, model


def _is_name(client: Client, word: str) -> bool:
    entries = client.get("/v1/models")["data"]
    return any(word in (entry["id"], entry["noa"].get("model_id")) for entry in entries)


def _converse(client: Client, options: dict[str, Any], messages: list[Message]) -> None:
    # Line editing and history for input(); optional in builds of Python.
    with suppress(ImportError):
        import readline  # noqa: F401
    output.message(f"Chat with '{options['model']}'. Ctrl-D ends it.")
    while True:
        try:
            prompt = input("> ").strip()
        except EOFError:
            print()
            return
        if not prompt:
            continue
        messages.append({"role": "user", "content": prompt})
        try:
            text = _answer(client, options, messages)
        except KeyboardInterrupt:
            # Ctrl-C cancels the answer, not the conversation.
            print()
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": text})


def _answer(client: Client, options: dict[str, Any], messages: list[Message]) -> str:
    """Print the answer as it is streamed, and return it."""
    show = output.visible if sys.stdout.isatty() else str
    pieces: list[str] = []
    body = options | {"messages": messages, "stream": True}
    try:
        for piece in _pieces(client, body):
            print(show(piece), end="", flush=True)
            pieces.append(piece)
    finally:
        if pieces:
            print()
    return "".join(pieces)


def _pieces(client: Client, body: dict[str, Any]) -> Iterator[str]:
    """The text of a streamed answer. Raises Failure when the stream ends early."""
    for data in client.events(_PATH, body):
        if data == "[DONE]":
            return
        event = json.loads(data)
        failure = from_error(event, 502)
        if failure:
            raise failure
        for choice in event["choices"]:
            yield choice["delta"].get("content") or ""
    raise Failure("The answer was cut off before its end.", ExitCode.REFUSED)
