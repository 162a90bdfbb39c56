"""Creates an API key and prints it once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import InvalidRequest
from models_app.domain.scopes import Scope
from models_app.services.api_keys import keys
from models_app.services.coordination import audit

_ACTOR = "command line"


class Command(BaseCommand):
    help = "Create an API key. It is printed once and stored only as a hash."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the purpose of the key")
        parser.add_argument(
            "--scope",
            action="append",
            choices=[scope.value for scope in Scope],
            help="a right of the key; repeat for more (default: infer)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        arguments = {"name": options["name"], "scopes": options["scope"] or [Scope.INFER]}
        try:
            key, text = keys.create(**arguments, actor=_ACTOR)
        except InvalidRequest as error:
            _record(arguments, status=error.http_status, error_code=error.code)
            raise CommandError(error.message) from error
        _record(arguments, subject=key.key_id, status=201)
        self.stdout.write(text)


def _record(arguments: dict[str, Any], **facts: Any) -> None:
    audit.record(
        channel=audit.Channel.COMMAND,
        actor=_ACTOR,
        action="create_api_key",
        arguments=arguments,
        **facts,
    )
