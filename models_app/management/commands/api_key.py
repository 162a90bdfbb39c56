"""Makes an API key and prints it once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import InvalidRequest
from models_app.domain.scopes import Scope
from models_app.services import keys


class Command(BaseCommand):
    help = "Make an API key. It is printed once and stored only as a hash."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the key is for, for people")
        parser.add_argument(
            "--scope",
            action="append",
            choices=[scope.value for scope in Scope],
            help="what it may do; repeat for more (default: infer)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _, text = keys.create(
                name=options["name"], scopes=options["scope"] or [Scope.INFER], actor="command line"
            )
        except InvalidRequest as error:
            raise CommandError(error.message) from error
        self.stdout.write(text)
