"""The `noa` command: a thin HTTP client of a NOA server. It never imports Django."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import models_app
from models_app.cli import chat, keys, lifecycle, models, output, profiles, providers, residency, work
from models_app.cli.client import Client
from models_app.cli.failures import Failure
from models_app.cli.session import Session

DEFAULT_URL = "http://127.0.0.1:8000"


def global_options_first(args: list[str]) -> list[str]:
    """The arguments with --json, --url and --key moved before the command; arguments after `--` stay.

    So `noa ls --json` equals `noa --json ls`, and no command has to declare them.
    """
    end = args.index("--") if "--" in args else len(args)
    first: list[str] = []
    rest: list[str] = []
    words = iter(args[:end])
    for word in words:
        if word == "--json" or word.startswith(("--url=", "--key=")):
            first.append(word)
        elif word in ("--url", "--key"):
            first += [word, *(value for value in [next(words, None)] if value is not None)]
        else:
            rest.append(word)
    return first + rest + args[end:]


app = typer.Typer(
    no_args_is_help=True,
    # Plain help: faster, and the same in a pipe.
    rich_markup_mode=None,
    # A traceback with the values of variables would print the API key.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str, typer.Option(envvar="NOA_URL", metavar="URL", help="The server's URL.")] = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option(envvar="NOA_API_KEY", metavar="KEY", help="The API key.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's JSON.")] = False,
) -> None:
    """Manage and query the language models of a NOA server.

    Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 server not reachable, 4 API key missing, unknown or
    without the permission, 5 timeout, 130 interrupted.
    """
    context.obj = Session(Client(url, key), as_json)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Web processes.", min=1, max=64)] = None,
) -> NoReturn:
    """Run the server of this installation."""
    arguments = [] if host is None else ["--host", host]
    arguments += [] if port is None else ["--port", str(port)]
    arguments += [] if workers is None else ["--workers", str(workers)]
    _exec("serve", *arguments)


@app.command()
def doctor(context: typer.Context) -> NoReturn:
    """Check the requirements of this installation's server, and report what to fix."""
    _exec("doctor", *(["--json"] if context.obj.as_json else []))


def _exec(*words: str) -> NoReturn:
    """Replace this process by a command of the server, which then owns signals, exit code and terminal."""
    program = Path(models_app.__file__).resolve().parent.parent / "manage.py"
    # Without a checkout: the installed package. -P: modules of the working folder must not shadow it.
    server = [str(program)] if program.is_file() else ["-P", "-m", "noa_site"]
    os.execv(sys.executable, [sys.executable, *server, *words])


for command in (
    models.ls,
    models.show,
    models.ps,
    lifecycle.load,
    lifecycle.unload,
    lifecycle.switch,
    lifecycle.discover,
    lifecycle.job,
    work.jobs,
    work.cancel,
    chat.chat,
    profiles.profile,
    profiles.compare,
    residency.pin,
    residency.unpin,
    residency.history,
    keys.keys,
    keys.limits,
    providers.providers,
):
    app.command()(command)


def main() -> None:
    # A model's text can contain characters that the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(global_options_first(sys.argv[1:]), prog_name="noa")
    except Failure as failure:
        output.message(f"noa: {failure.message}")
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
