"""Prepares the data folder, then runs web, worker and runners until SIGINT or SIGTERM."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import NoaError
from models_app.management.server import Server


class Command(BaseCommand):
    help = "Run NOA: the gateway, the API, the console and, without a broker, the worker beside them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.NOA_HOST, help="address to listen on")
        parser.add_argument("--port", type=int, default=settings.NOA_PORT, help="port to listen on")
        parser.add_argument(
            "--workers",
            type=int,
            choices=range(1, 65),
            metavar="N",
            default=settings.NOA_WEB_PROCESSES,
            help="web processes; SIGHUP replaces them one by one",
        )

    def print(self, text: str) -> None:
        """Prints unbuffered, also into a pipe: the text can hold the password and the key of the first start."""
        self.stdout.write(text)
        self.stdout.flush()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            # The worker in this process accepts jobs of the other web processes.
            settings.NOA_WEB_PROCESSES = options["workers"]
            Server(
                host=options["host"],
                port=options["port"],
                web_processes=options["workers"],
                output=self.print,
            ).run()
        except NoaError as error:
            raise CommandError(error.message) from error
