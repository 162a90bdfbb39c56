"""The `noa` command: a thin HTTP client of a NOA server. It never imports Django."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import models_app
from models_app.cli import chat, keys, lifecycle, models, output, profiles, residency, work
from models_app.cli.client import Client
from models_app.cli.failures import ExitCode, Failure
from models_app.cli.session import Session

DEFAULT_URL = "http://127.0.0.1:8000"


def global_options_first(args: list[str]) -> list[str]:
    """The same arguments with --json, --url and --key moved before the command; what follows `--` stays.

    So `noa ls --json` works as `noa --json ls` does, and no command has to declare them.
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
    # Plain help: it is there at once, and reads the same in a pipe.
    rich_markup_mode=None,
    # A traceback with the values of variables would print the API key.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str, typer.Option(envvar="NOA_URL", metavar="URL", help="Where the server is.")] = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option(envvar="NOA_API_KEY", metavar="KEY", help="The API key.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with the server's JSON.")] = False,
) -> None:
    """Manage and ask the language models of a NOA server.

    Exit codes: 0 done, 1 refused by the server, 2 wrong usage, 3 server not reachable, 4 API key missing, unknown or
    without the right, 5 time-out, 130 interrupted.
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
    _become("serve", *arguments)


@app.command()
def doctor(context: typer.Context) -> NoReturn:
    """Look at everything that the server of this installation needs, and say what to do."""
    _become("doctor", *(["--json"] if context.obj.as_json else []))


def _become(*words: str) -> NoReturn:
    """Run a command of the server in place of this process: signals, exit code and terminal are its own."""
    program = Path(models_app.__file__).resolve().parent.parent / "manage.py"
    if not program.is_file():
        raise Failure(
            f"The server is not part of this installation. Run 'noa {words[0]}' from a checkout of NOA.",
            ExitCode.USAGE,
        )
    os.execv(sys.executable, [sys.executable, str(program), *words])


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
):
    app.command()(command)


def main() -> None:
    # A model may write what this terminal's encoding does not have.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(global_options_first(sys.argv[1:]), prog_name="noa")
    except Failure as failure:
        output.say(f"noa: {failure.message}")
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
