"""The one command: makes what is missing, then runs web, worker and runners until it is told to stop."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import NoaError
from models_app.management.server import Server


class Command(BaseCommand):
    help = (
        "Run NOA: the gateway, the API, the console and, without a broker, the worker beside them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.NOA_HOST, help="address to listen on")
        parser.add_argument("--port", type=int, default=settings.NOA_PORT, help="port to listen on")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            Server(host=options["host"], port=options["port"], say=self.stdout.write).run()
        except NoaError as error:
            raise CommandError(error.message) from error
