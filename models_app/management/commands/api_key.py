"""Makes an API key and prints it once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import InvalidRequest
from models_app.domain.scopes import Scope
from models_app.services.api_keys import keys
from models_app.services.coordination import audit

_ACTOR = "command line"


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
        wish = {"name": options["name"], "scopes": options["scope"] or [Scope.INFER]}
        try:
            key, text = keys.create(**wish, actor=_ACTOR)
        except InvalidRequest as error:
            _note(wish, status=error.http_status, error_code=error.code)
            raise CommandError(error.message) from error
        _note(wish, subject=key.key_id, status=201)
        self.stdout.write(text)


def _note(wish: dict[str, Any], **facts: Any) -> None:
    audit.record(
        channel=audit.Channel.COMMAND,
        actor=_ACTOR,
        action="create_api_key",
        arguments=wish,
        **facts,
    )
