"""Creates the certificates with which the nodes of one NOA authenticate each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from models_app.domain.errors import NoaError
from models_app.engines import certificates


class Command(BaseCommand):
    help = "Write an authority, a certificate and its key into a folder; copy them to every machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            made = certificates.make(folder.absolute())
        except NoaError as error:
            raise CommandError(error.message) from error
        self.stdout.write("Set on every machine, with the folder's path there:")
        for name, path in {
            "NOA_NODE_CA": made.authority,
            "NOA_NODE_CERT": made.certificate,
            "NOA_NODE_KEY": made.key,
        }.items():
            self.stdout.write(f"  {name}={path}")
